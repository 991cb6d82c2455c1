"""From results to decisions. Reads a store (or any table), never changes a result; no torch.

what ran        runs, facts, measurements, programs, show        tables (a DataFrame), table_files, expressions, checks
laws            laws, mixture_laws, schedule_laws                law, formula (what one is), curves (of the LR)
fitting         fit                                              objective, starts, newton, search, resampling
how sure        information, profile, crossval                   fit_file
decisions       optimise, simplex, schedule_choice, isoflop      ensemble (all bootstrap draws at once)
further runs    design                                           questions, candidates, sensitivity, fisher, selection
figures         plots, plot_style, notebooks/
commands        __main__, fit_command, decide_command, next_command            progress

In a notebook, with paths as texts:

    import analysis
    table = analysis.load("runs", sweep="demo")
    fit = analysis.fit_law(analysis.LAWS["chinchilla"], table[table.D > 0])
    analysis.figures.plots.residuals(axes, fit, table)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.decide.optimise import compute_allocation as compute_allocation
    from analysis.decide.optimise import critical_share as critical_share
    from analysis.decide.optimise import domain_ability as domain_ability
    from analysis.decide.optimise import limited_domain as limited_domain
    from analysis.decide.schedule import choose_schedule as choose_schedule
    from analysis.decide.simplex import best_mixture as best_mixture
    from analysis.design.next_runs import next_runs as next_runs
    from analysis.fitting.crossval import cross_validate as cross_validate
    from analysis.fitting.fit import fit_law as fit_law
    from analysis.fitting.fit_file import read_fit as read_fit
    from analysis.laws.library import LAWS as LAWS
    from analysis.results.runs import read_runs as read_runs
    from analysis.results.tables import load as load
    from analysis.results.tables import read as read

# Where a name comes from; imported when it is asked for, so that `import analysis` costs nothing.
OFFERED = {
    "load": "tables",
    "read": "tables",
    "read_runs": "runs",
    "LAWS": "laws",
    "fit_law": "fit",
    "read_fit": "fit_file",
    "cross_validate": "crossval",
    "domain_ability": "optimise",
    "limited_domain": "optimise",
    "critical_share": "optimise",
    "compute_allocation": "optimise",
    "best_mixture": "simplex",
    "choose_schedule": "schedule_choice",
    "next_runs": "design",
}
MODULES = ("fit", "optimise", "plots", "tables")  # analysis.figures.plots.residuals(...)
__all__ = (*OFFERED, *MODULES)


def __getattr__(name: str) -> Any:
    if name in OFFERED:
        return getattr(importlib.import_module(f"analysis.{OFFERED[name]}"), name)
    if name in MODULES:
        return importlib.import_module(f"analysis.{name}")
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
