"""What claims of the papers look at: arms of runs, differences between them, and the rules that settle these.

Ask for `arms.ends_by_run`, `evidence.Evidence`, `contrast.Contrast`, `rules.sign`, `rewarm`, `scalable`, `dcpt`.
"""
