"""Which jobs of a plan make one SLURM job, and what each waits for."""

from __future__ import annotations

from pathlib import Path

from harness.plan.jobs import Jobs
from harness.plan.plan import plan
from harness.slurm.chains import Chain, chains, job_name, listed
from harness.slurm.submissions import Submitted
from tests.composed import points_of
from tests.tiny import command


def queued(number: str, state: str = "PENDING") -> Submitted:
    return Submitted(Path("jobs/token"), 0, number, state, cancelled=False)


def test_a_run_alone_is_one_job(texts: Path) -> None:
    jobs = Jobs(plan(points_of(command(texts))))
    (chain,) = chains(jobs, {})
    assert chain.jobs == jobs.all
    assert chain.dependency() == ""


def test_a_base_and_its_continuations_are_jobs_of_their_own(texts: Path) -> None:
    jobs = Jobs(plan(points_of(*(command(texts, f"warmup={share}") for share in (0.1, 0.2, 0.3)))))
    base, *others = chains(jobs, {})
    assert [job.segment.stop for job in base.jobs] == [6, 60]
    assert [[job.segment.stop for job in chain.jobs] for chain in others] == [[64, 100], [68, 100], [72, 100]]
    assert [chain.dependency() for chain in others] == [None] * 3  # until the base has a number
    base.number = "12"
    assert [chain.dependency() for chain in others] == ["afterok:12"] * 3


def test_what_is_queued_is_waited_for_and_not_submitted_again(texts: Path) -> None:
    jobs = Jobs(plan(points_of(command(texts, "warmup=0.1"), command(texts, "warmup=0.2"))))
    base, first, _ = chains(jobs, {})
    queue = {job.key: queued("12") for job in base.jobs} | {job.key: queued("13_1") for job in first.jobs}
    (left,) = chains(jobs, queue)
    assert left.dependency() == "afterok:12"
    gone = {key: queued(one.job, state="") for key, one in queue.items()}
    assert len(chains(jobs, gone)) == 3


def test_a_chain_waits_for_all_before_it() -> None:
    before = [Chain([], number="1"), Chain([], number="2_3")]
    chain = Chain([], [("afterok", before[0]), ("afterany", before[1]), ("afterok", "4")])
    assert chain.dependency() == "afterany:2_3,afterok:1,afterok:4"


def test_what_is_queued_but_measures_less_is_done_again_after_it(texts: Path) -> None:
    jobs = Jobs(plan(points_of(command(texts))))
    queue = {job.key: queued("12") for job in jobs.all}
    (chain,) = chains(jobs, queue, short=frozenset({jobs.all[-1].key}))
    assert chain.jobs == jobs.all[-1:]
    assert chain.dependency() == "afterany:12,afterok:12"


def test_what_is_stored_meanwhile_is_not_waited_for(texts: Path) -> None:
    jobs = Jobs(plan(points_of(*(command(texts, f"warmup={share}") for share in (0.1, 0.2)))))
    for job in jobs.all[:2]:
        jobs.done(job)
    assert [chain.dependency() for chain in chains(jobs, {})] == ["", ""]


def test_numbers_are_listed_as_squeue_does() -> None:
    assert listed(["7", "12_0", "12_1", "12_2", "12_5", "13_4"]) == "7 12_[0-2,5] 13_4"


def test_jobs_are_named_by_what_they_make_in_the_end(texts: Path) -> None:
    points = points_of(*(command(texts, f"warmup=0.1 seed={seed}") for seed in (0, 1)))
    for seed, point in enumerate(points):
        point.labels = [f"seed={seed}"]
    found = chains(Jobs(plan(points)), {})
    assert [job_name([chain]) for chain in found] == ["rewarm-seed=0", "rewarm-seed=1"]
    assert job_name(found) == "rewarm-2-runs"
