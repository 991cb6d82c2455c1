"""From a command line and YAML to points: Hydra composes groups, `grids` and `-m` are expanded, every key is checked.

Ask for `compose.collect`, `compose.sweep_points`, `expand.GridPoint`, `keys`.
"""
