"""Rewarm's harness: from a composed config to trained, measured, stored states (README.md shows the picture)."""
