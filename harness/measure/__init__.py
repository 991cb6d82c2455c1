"""What is measured, where, and how a loss over fixed windows is taken.

Ask for `request.request` and `overlap.find_overlaps` (both without torch), and `losses.measure_loss`.
"""
