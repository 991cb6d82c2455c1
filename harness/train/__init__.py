"""One segment of training, from the deepest stored state to its stop.

Ask for `loop.Trainer` and `states.States`.
"""
