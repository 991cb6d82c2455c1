"""Processes that carry out a plan on this machine, and what a person sees of them.

Ask for `session`, `pool.start`, `worker`, `ranks.follow`, `display.Display`, `tracker.Tracker`.
"""
