"""Laws: a formula with its roles, bounds and source, and the library of published ones.

Ask for `law.Law` and `library.find`.
"""
