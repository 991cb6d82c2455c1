"""All runs of a sweep as one trie over what is stored: what is shared, done, and left to do.

Ask for `plan.plan`, `over_store.plan_over`, `task.task_of`, `jobs.Jobs`, `run_file`, `recorded_runs`,
`exposure.Exposure`.
"""
