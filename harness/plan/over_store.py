"""A plan over what a store holds: which states there are, and which rows they carry.

planned = plan_over(compile_points([(label, run), ...]), store)
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.measure.request import RowKey
from harness.plan.plan import Plan, PlannedRun, plan
from harness.store.store import Store


def plan_over(points: Sequence[PlannedRun], store: Store) -> Plan:
    """The plan of compiled runs over what the store holds."""
    stored = store.addresses()
    lengths: dict[str, list[int]] = {}
    for address in sorted(stored):
        state = store.state(address)
        if state is not None and not state.measured:
            stored.remove(address)  # nothing to plan on; whoever trains there finds it
        elif state is not None and "line" in state.meta:
            lengths.setdefault(state.meta["line"], []).append(state.meta["line_steps"])

    def rows(address: str) -> frozenset[RowKey] | None:
        if address not in stored:
            return None
        found = store.rows(address)
        return frozenset(row.key for row in found) if store.state(address) else None  # reading may show it damaged

    return plan(points, rows, lambda branch: lengths.get(branch, ()))
