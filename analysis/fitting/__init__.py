"""One engine for every law: starts, Newton's method, errors, profiles, cross-validation.

Ask for `fit.fit_law` and `fit_file`.
"""
