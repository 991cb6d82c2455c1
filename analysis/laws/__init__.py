"""Laws: a formula as text, its derivatives, and the library of published ones.

Ask for `law.Law` and `library.find`.
"""
