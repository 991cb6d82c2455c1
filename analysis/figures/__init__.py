"""Figures of fits and answers, in one style.

Ask for `plots` and `style`.
"""
