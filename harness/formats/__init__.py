"""How files become records: formats, compression, nested fields, and what a file really is; how servers are asked.

Ask for `reading.read`, `reading.SUFFIXES`, `fields.Fields`, `servers.patiently`.
"""
