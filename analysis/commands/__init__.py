"""What `python -m analysis` offers, a module for each kind of command.

Ask for nothing: `analysis.__main__` calls them.
"""
