"""From fits to an answer: the best law, the mixture, the peak and the horizon, IsoFLOP minima.

Ask for `compare`, `optimise`, `simplex`, `measured`, `isoflop`.
"""
