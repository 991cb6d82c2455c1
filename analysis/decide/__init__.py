"""From fits to an answer: the mixture, the peak and the horizon, IsoFLOP minima.

Ask for `optimise`, `questions.Question`, `simplex`, `isoflop`.
"""
