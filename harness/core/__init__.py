"""What everything else stands on: errors, canonical identity, files, units, the frame of a command.

It imports nothing of the rest. Ask for `errors.InputError`, `identity.digest`, `files`, `units`, `command.guarded`.
"""
