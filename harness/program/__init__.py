"""A run as data: a root and phases, with learning rate and data as functions of position.

It knows no config, no file and no torch. Ask for `program.Program`, `schedule.pieces`, `mixture.counts`,
`shape.ModelShape`.
"""
