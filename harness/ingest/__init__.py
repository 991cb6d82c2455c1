"""Ingest: from the texts that a recipe names to a corpus in the store.

Ask for `build.build`, `windows.require_windows`.
"""
