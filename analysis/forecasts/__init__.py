"""What laws said of runs before anybody trained them, frozen under its hash, and what became of it.

Ask for `forecast.forecast`, `forecast.freeze`, `forecast.read_forecast`, `score.score`,
`usages.questions`.
"""
