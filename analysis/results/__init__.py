"""What runs measured: tables of stores and of others, checks of them, learning-rate curves.

Ask for `tables.load`, `tables.read`, `runs`, `run_record`, `checks`.
"""
