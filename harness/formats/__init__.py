"""How files become records: formats, compression, nested fields, and what a file really is.

Ask for `reading.read`, `reading.SUFFIXES`, `fields.Fields`.
"""
