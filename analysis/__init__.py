"""From results to decisions. Reads a store (or any table), never changes a result; no torch.

Rooms, from what is read to what is drawn: results, laws, fitting, answers, design, figures, decide; commands on top.

In a notebook, with paths as texts:

    import analysis
    table = analysis.load("runs", sweep="demo")
    fit = analysis.fit_law(analysis.LAWS["chinchilla"], table[table.D > 0])
    analysis.plots.residuals(axes, fit, table)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.answers import optimise as optimise
    from analysis.answers.compare import compare as compare
    from analysis.answers.optimise import compute_allocation as compute_allocation
    from analysis.answers.optimise import critical_share as critical_share
    from analysis.answers.optimise import domain_ability as domain_ability
    from analysis.answers.optimise import limited_domain as limited_domain
    from analysis.answers.schedule import choose_schedule as choose_schedule
    from analysis.answers.simplex import best_mixture as best_mixture
    from analysis.design.next_runs import next_runs as next_runs
    from analysis.figures import plots as plots
    from analysis.fitting import fit as fit
    from analysis.fitting.fit import fit_law as fit_law
    from analysis.fitting.fit_file import read_fit as read_fit
    from analysis.laws.law import Law as Law
    from analysis.laws.library import LAWS as LAWS
    from analysis.results import tables as tables
    from analysis.results.runs import read_runs as read_runs
    from analysis.results.tables import load as load
    from analysis.results.tables import read as read

# Where a name comes from; imported when it is asked for, so that `import analysis` costs nothing.
OFFERED = {
    "load": "results.tables",
    "read": "results.tables",
    "read_runs": "results.runs",
    "LAWS": "laws.library",
    "Law": "laws.law",
    "fit_law": "fitting.fit",
    "read_fit": "fitting.fit_file",
    "compare": "answers.compare",
    "domain_ability": "answers.optimise",
    "limited_domain": "answers.optimise",
    "critical_share": "answers.optimise",
    "compute_allocation": "answers.optimise",
    "best_mixture": "answers.simplex",
    "choose_schedule": "answers.schedule",
    "next_runs": "design.next_runs",
}
# Modules, as in analysis.plots.residuals(...).
MODULES = {"fit": "fitting.fit", "optimise": "answers.optimise", "plots": "figures.plots", "tables": "results.tables"}
__all__ = (*OFFERED, *MODULES)


def __getattr__(name: str) -> Any:
    if name in OFFERED:
        return getattr(importlib.import_module(f"analysis.{OFFERED[name]}"), name)
    if name in MODULES:
        return importlib.import_module(f"analysis.{MODULES[name]}")
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
