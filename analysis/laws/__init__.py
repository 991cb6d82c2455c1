"""Laws: a formula as text, what sympy derives from it, and the library of published ones.

Ask for `law.Law` and `library.find`.
"""
