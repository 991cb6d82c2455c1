"""The store on disk: states by address, leases, histories of measurements.

Without torch: tensors are files here. Ask for `store.Store`, `lease.acquire`, `history.Row`.
"""
