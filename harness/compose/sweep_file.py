"""Sweep files that a program writes: what it proposes, as `python -m harness -cd FOLDER -cn NAME` trains it.

text = sweep_text([{"peak": 1.0, "replay": 0.05, "seed": 0}], {"defaults": ["config", "_self_"]})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.errors import InputError


def sweep_text(
    grids: Sequence[Mapping[str, Any]], base: Mapping[str, Any], *, base_seed: int = 0, comment: str = ""
) -> str:
    """The text of a sweep file that trains these settings: `python -m harness -cd FOLDER -cn NAME`.

    `base`: the settings of the sweep that the data came from (its `defaults`, `peak`, `evaluate` and so on), whose
    `grids` are replaced. Unless it sets `base.seed`, all runs continue the base of `base_seed`, which exists.
    """
    if "defaults" not in base:
        why, remedy = "no `defaults`: it is no sweep file", "give the settings of the sweep that the data came from"
        raise InputError("base", ", ".join(base) or "nothing", why, remedy)
    header = {key: value for key, value in base.items() if key not in ("grids", "grids_at")}
    header["base"] = {"seed": base_seed, **header.get("base", {})}
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{key}: {_yaml(value)}" for key, value in header.items()]
    return "\n".join([*lines, "grids:", *(f"  - {_yaml(dict(grid))}" for grid in grids), ""])


def _yaml(value: Any) -> str:
    """A value on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()
