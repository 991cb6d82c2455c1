"""What several commands of `python -m analysis` share: options for learning-rate curves, how far an answer is believed,
which runs share a budget, a progress bar.

Ask for `schedules`, `extrapolation`, `budgets` and `progress`; a command's own options stand in its module in
`analysis.commands`.
"""
