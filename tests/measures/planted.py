"""Tables of runs with planted losses, for claims to be judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.claims import CLAIMS
from analysis.claims.verdict import Verdict, judge
from analysis.results.tables import COLUMNS

SEEDS = range(10, 20)
H = (0.01, 0.02, 0.17, 0.5, 0.9, 0.95, 1.0)
DENSE: tuple[float, ...] = (*np.linspace(0.0025, 0.05, 20).round(5), 0.17, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
Knobs = dict[str, Any]
Arm = tuple[Knobs, float, float]  # settings, final U, final V
Curve = Callable[[float], float]

OTHER = {"upstream": "docs", "downstream": "cpp"}
WEAK = {"upstream": "systems", "downstream": "science"}
STRONG = {"upstream": "systems", "downstream": "python"}
SAME = {"upstream": "docs", "downstream": "docs"}
SCRATCH: Knobs = {"start": "scratch", "base_tokens": 0}


def planted(
    arms: Iterable[Arm], seeds: Iterable[int] = SEEDS, noise: float = 0.004, h: Sequence[float] = H
) -> pd.DataFrame:
    """Measurements of arms; curves lie .1 above their ends. Beside settings, knobs may be `curve` (of U above its end,
    by h), `further` ({corpus: its curve}) and `sources` ({corpus: (share drawn, final loss)}, in place of V). Bases: U
    3, V 5, and a luck that is common to a seed, so that pairing takes it out."""
    random = np.random.default_rng(0)
    rows = []
    for seed in seeds:
        luck = 0.05 * random.standard_normal()
        for number, (knobs, U, V) in enumerate(arms):
            settings: Knobs = {"upstream": "docs", "downstream": "python", "schedule": "cosine", "start": "pretrain"}
            settings |= {"warmup": 0.01, "peak": 1.0, "replay": 0.0, "lr": 0.003, "at": 1.0, "warmup_tokens": 10}
            settings |= {"optimizer_state": "reset", "scale": "mini", "model": "mini", "run_tokens": 1000, "N": 1e5}
            settings |= {"base_tokens": 5000} | knobs
            if settings["schedule"] != "constant":
                settings["lr"] = 0.003 * settings["peak"]
            curve: Curve = settings.pop("curve", lambda _: 0.1)
            further: dict[str, Curve] = settings.pop("further", {})
            sources = settings.pop("sources", {settings["downstream"]: (np.nan, V)})
            name = f"{settings['upstream']}_{settings['downstream']}-{number}-seed{seed}"
            own = noise * random.standard_normal(2)
            shared = {**settings, "run": name, "seed": seed, "base_address": f"base {seed}", "status": "done"}
            measured = [(settings["upstream"], "upstream", U + own[0], 3.0, np.nan, curve)]
            if settings["upstream"] != settings["downstream"]:
                for corpus, (share, loss) in sources.items():
                    role = "downstream" if corpus == settings["downstream"] else "further"
                    measured.append((corpus, role, loss + own[1], 5.0, share, lambda _: 0.1))
            measured += [(corpus, "further", 0.0, 0.0, np.nan, of) for corpus, of in further.items()]
            for corpus, role, final, base, share, above in measured:
                row = {**shared, "corpus": corpus, "role": role, "r": share, "windows": 64}
                tokens = settings["run_tokens"]
                rows += [{**row, "D": round(at * tokens), "loss": final + luck + above(at)} for at in h]
                rows += [{**row, "windows": 1024, "D": tokens, "loss": final + luck}]
                if settings["start"] != "scratch":
                    rows += [{**row, "windows": many, "D": 0, "loss": base + luck} for many in (64, 1024)]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    return table.assign(position=table.D)


def also(knobs: Knobs, arms: Iterable[Arm]) -> list[Arm]:
    """The same arms with other settings."""
    return [({**own, **knobs}, U, V) for own, U, V in arms]


def judged(table: pd.DataFrame, name: str) -> Verdict:
    """The verdict on one claim."""
    (found,) = judge(table, [claim for claim in CLAIMS if claim.id == name])
    return found
