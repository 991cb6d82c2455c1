"""The papers' figures: one short script each, drawn from tables, for print."""
