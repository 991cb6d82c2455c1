"""Taking back what a sweep has in the queue (`do=cancel`), but for what others wait for.

taken, left = cancel(plan, store)        # numbers of jobs
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Mapping

from harness.core.errors import InputError
from harness.core.plain import read_back
from harness.corpora.held_out import read_of
from harness.plan.jobs import Jobs
from harness.plan.plan import Plan
from harness.slurm.submissions import (
    OTHERWISE,
    Submitted,
    jobs_of_corpus,
    read_work,
    record_cancelled,
    submitted,
    tasks_of,
)
from harness.slurm.submit import alone
from harness.store.store import Store
from harness.texts.recipe import Recipe


def cancel(plan: Plan, store: Store) -> tuple[list[str], list[str]]:
    """Take back what is queued or running of a plan, but for what others wait for. The numbers of the jobs: (taken
    back, left). Raises InputError if SLURM refuses."""
    if shutil.which("scancel") is None:
        raise InputError("do", "cancel", "there is no scancel here", "run it where the jobs were submitted")
    if not (store.root / "jobs").exists():
        return [], []
    with alone(store, lambda: False):
        queue = submitted(store.root)
        doomed = {one.job: one for job in Jobs(plan).all if (one := queue.get(job.key)) and one.in_queue}
        left = _waited_for(doomed, queue)
        doomed = {number: one for number, one in doomed.items() if number not in left}
        doomed |= {one.job: one for one in _only_of(plan, queue, doomed)}
        if doomed:
            asked = subprocess.run(["scancel", *doomed], capture_output=True, text=True, check=False)
            if asked.returncode:
                raise InputError("do", "cancel", f"scancel says: {' '.join(asked.stderr.split())}", "try again")
            record_cancelled(list(doomed.values()))
    return list(doomed), left


def _waited_for(doomed: Mapping[str, Submitted], queue: Mapping[str, Submitted]) -> list[str]:
    """The numbers of those from whose states other jobs of the queue go on, and of those from which these do."""
    makes = {key: one.job for key, one in queue.items() if one.job in doomed}
    look = list({one.job: one for one in queue.values() if one.in_queue and one.job not in doomed}.values())
    left: list[str] = []
    while look:
        one = look.pop()
        try:
            needed = {task.program.address(task.start) for task in tasks_of(one) if task.start}
        except OTHERWISE:  # of a version that writes it otherwise: what it waits for is not known
            needed = set(makes)
        found = sorted({makes[key] for key in needed & makes.keys()} - set(left))
        look += [doomed[number] for number in found]
        left += found
    return left


def _only_of(plan: Plan, queue: Mapping[str, Submitted], doomed: Collection[str]) -> list[Submitted]:
    """The jobs that make corpora of a plan, without those for which others wait as well."""
    recipes = {recipe.key: recipe for point in plan.points for recipe in point.run.recipes.values()}
    rest = {one.job: one for one in queue.values() if one.in_queue and one.job not in doomed}
    works = [read_work(one.folder, one.index) for one in rest.values()]
    read = {key for work in works for task in work.get("tasks", ()) for key in task["recipes"]}
    mine = {key: recipe for key, recipe in recipes.items() if key not in read}
    others = [read_back(Recipe, work["needed"]["recipe"]) for work in works if "needed" in work]
    kept = {one.job for other in others if other.key not in mine for one in _jobs_that_make(other, queue)}
    own = {one.job: one for recipe in mine.values() for one in _jobs_that_make(recipe, queue)}
    return [one for number, one in own.items() if one.in_queue and number not in kept]


def _jobs_that_make(recipe: Recipe, queue: Mapping[str, Submitted]) -> list[Submitted]:
    """Those of the whole corpus, and those of its validation alone."""
    return [one for whole in (True, False) for one in jobs_of_corpus(read_of(recipe, whole=whole), queue)]
