"""A plan as jobs of a SLURM cluster: chains, resources, frozen code, submissions, status.

Ask for `submit.submit`, `resources.resources`, `status`, `watch.Watch`, `payload`.
"""
