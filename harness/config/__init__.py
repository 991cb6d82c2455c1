"""From one composed config to a program: its fields within limits, a run in steps, its stages, compiled.

Ask for `run.read_run`, `compile.compile_run`, `launching.read_launch`, `fields`.
"""
