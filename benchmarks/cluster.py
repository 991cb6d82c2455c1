"""How long submission to SLURM takes, and what a job costs beside a worker of launch=local."""

from __future__ import annotations

import shutil

from benchmarks.planning import GRID
from benchmarks.table import Row
from benchmarks.workload import Bench, command, fresh_store, print_line

HELD = ("launch=slurm", "launch.gpus_per_node=0", "launch.sbatch={hold: true}")  # nothing starts
JOBS = 8
SIDES = 2  # jobs, or workers, at a time


def slurm(bench: Bench) -> list[Row]:
    """Seconds from command to prompt for 1, 30, 300 points, and per job. Where there is sbatch (tests/slurm/up)."""
    if shutil.which("sbatch") is None:
        print_line("slurm: there is no sbatch here: left out")
        return []
    rows = []
    for points in (1, 3) if bench.quick else (1, 30, 300):
        seconds = tuple(_submission(bench, points) for _ in range(bench.pairs))
        target = 20.0 if points == 30 else None
        rows.append(
            Row(
                f"slurm: {points} points of a sweep file submitted",
                "s",
                seconds,
                target=target,
                at_most=True,
                note="whole command, corpora built",
            )
        )
        print_line(f"slurm: {points} points: {min(seconds):.2f} s")
    return [*rows, _overhead(bench)]


def _submission(bench: Bench, points: int) -> float:
    """Seconds of the command that submits the first so many points of a grid."""
    lrs, warmups, replays = ([*GRID[knob]] for knob in ("lr", "warmup", "replay"))
    grid = f"lr: [{', '.join(lrs[: max(1, points // 15)])}]"
    if points >= 15:
        grid += f", warmup: [{', '.join(warmups)}], replay: [{', '.join(replays)}]"
    elif points > 1:
        grid += f", replay: [{', '.join(replays[:points])}]"
    with fresh_store(bench.scratch) as root:
        (root / "points.yaml").write_text(f"defaults: [config, _self_]\ngrids:\n  - {{{grid}}}\n")
        call = ("-cd", str(root), "-cn", "points", f"root={root}", *HELD)
        seconds = command(*call)
        command(*call, "do=cancel")
    return seconds


def _overhead(bench: Bench) -> Row:
    """Seconds that a job takes longer than the same work of a worker, both two at a time."""
    jobs = 2 if bench.quick else JOBS
    seeds = ",".join(str(seed) for seed in range(jobs))
    sweep = ("-m", "start=scratch", "tokens=8192", "warmup=0.1", f"seed={seeds}")
    ours, theirs = [], []
    for _ in range(1 if bench.quick else min(bench.pairs, 3)):
        with fresh_store(bench.scratch) as root:
            waited = ("launch.wait=true", f"launch.at_once={SIDES}", "launch.cpus=1", "launch.gpus_per_node=0")
            ours.append(command(*sweep, f"root={root}", "launch=slurm", *waited))
        with fresh_store(bench.scratch) as root:
            theirs.append(command(*sweep, f"root={root}", "launch=local", f"launch.workers={SIDES}"))
    per_job = tuple((a - b) * SIDES / jobs for a, b in zip(ours, theirs, strict=True))
    print_line(f"slurm: a job: {min(per_job):.1f} s")
    return Row("slurm: a job beside the same work of a worker", "s", per_job, note=f"{jobs} jobs, {SIDES} at a time")
