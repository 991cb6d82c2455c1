"""What several commands of `python -m analysis` share: options for learning-rate curves, a progress bar.

Ask for `schedules` and `progress`; a command's own options stand in its module in `analysis.commands`.
"""
