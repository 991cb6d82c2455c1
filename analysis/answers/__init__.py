"""From fits to an answer: the best law, the mixture, the peak and the horizon, IsoFLOP minima.

Ask for `compare`, `optimise`, `questions.Question`, `simplex`, `isoflop`.
"""
