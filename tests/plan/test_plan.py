"""What runs share, what is left to train, and how fast that is known."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from harness.measure.request import RowKey
from harness.plan.plan import Plan, plan
from tests.composed import points_of, run_of

BASE, STEP = 5859, 1172


class Trained:
    """A store in which these plans were carried out."""

    def __init__(self, *plans: Plan) -> None:
        self.states: dict[str, frozenset[RowKey]] = {}
        self.lengths: dict[str, set[int]] = {}
        for planned in plans:
            for segment in planned.segments:
                before = self.states.get(segment.parent.address, frozenset()) if segment.parent else frozenset()
                self.states[segment.address] = self.states.get(segment.address, frozenset()) | before | segment.rows
                branch, length = segment.program.branch_at(segment.stop)
                self.lengths.setdefault(branch, set()).add(length)

    def plan(self, *lines: str) -> Plan:
        return plan(points_of(*lines), self.states.get, lambda branch: self.lengths.get(branch, ()))


def steps(planned: Plan) -> int:
    return sum(segment.stop - segment.start for segment in planned.to_train)


def test_a_grid_shares_its_base() -> None:
    planned = plan(points_of("peak=0.5", "peak=1", "peak=2", "schedule=constant"))
    assert steps(planned) == BASE + 4 * STEP
    assert planned.tokens_if_separate == 4 * (BASE + STEP) * 512


def test_a_finished_sweep_trains_nothing() -> None:
    lines = ("peak=0.5", "peak=1", "replay=0.05", "start=scratch")
    again = Trained(plan(points_of(*lines))).plan(*lines)
    assert again.to_train == []
    assert again.evaluations == []
    assert again.tokens_done == (BASE + 4 * STEP) * 512


def test_one_more_point_trains_only_itself() -> None:
    stored = Trained(plan(points_of("peak=0.5")))
    assert steps(stored.plan("peak=0.5", "peak=1")) == STEP


def test_five_lengths_of_an_infinite_schedule_cost_one_trunk_and_five_anneals() -> None:
    lines = [f"schedule=infinite_cosine tokens={t}x anneal_tokens=0.1x" for t in (1, 1.5, 2, 2.5, 3)]
    planned = plan(points_of(*lines))
    anneal = round(0.1 * 600_000 / 512)
    trunk = round(3 * 600_000 / 512) - anneal
    assert steps(planned) == BASE + trunk + 5 * anneal


@pytest.mark.parametrize("schedule", ["constant", "infinite_cosine", "wsd", "warmup_constant"])
def test_extending_an_open_ended_run_trains_only_the_new_part(schedule: str) -> None:
    anneals = schedule in ("infinite_cosine", "wsd")
    knobs = f"schedule={schedule}" + (" anneal_tokens=0.1x" if anneals else "")
    stored = Trained(plan(points_of(f"{knobs} tokens=1x")))
    longer = stored.plan(f"{knobs} tokens=1.5x")
    anneal = round(0.1 * 600_000 / 512) if anneals else 0
    assert steps(longer) == round(1.5 * 600_000 / 512) - STEP + anneal


def test_a_run_that_stops_at_a_sixth_of_its_horizon_is_on_the_way_of_the_longer_one() -> None:
    stored = Trained(plan(points_of("tokens=0.1667x horizon=1x")))
    assert steps(stored.plan("tokens=1x")) == STEP - round(0.1667 * 600_000 / 512)
    assert steps(plan(points_of("tokens=0.1667x horizon=1x", "tokens=1x"))) == BASE + STEP


def test_one_more_validation_set_trains_nothing_and_is_measured_where_states_are_stored() -> None:
    stored = Trained(plan(points_of("peak=1")))
    more = stored.plan("peak=1 evaluate.sets=[cpp]")
    assert more.to_train == []
    assert sorted(e.position for e in more.evaluations) == [0, BASE, BASE + 12, BASE + STEP]
    many = {e.position: len(e.hashes) for e in more.evaluations}
    assert many == {0: 1, BASE: 2, BASE + 12: 1, BASE + STEP: 2}  # where base and run end on more windows, too


def test_a_stored_run_of_before_is_measured_on_the_windows_of_its_ends_and_not_trained_again() -> None:
    before = Trained(plan(points_of("peak=1 evaluate.final_windows=null")))
    now = before.plan("peak=1")
    assert now.points[0].key == plan(points_of("peak=1 evaluate.final_windows=null")).points[0].key
    assert now.to_train == []
    assert [(e.position, len(e.hashes)) for e in now.evaluations] == [(BASE, 2), (BASE + STEP, 2)]
    assert Trained(now).plan("peak=1").evaluations == []


def test_another_shift_uses_the_stored_base_and_measures_its_end() -> None:
    stored = Trained(plan(points_of("peak=1")))
    other = stored.plan("peak=1 shift=docs_to_cpp")
    assert steps(other) == STEP
    assert {e.position for e in other.evaluations} == {0, BASE}


def test_required_rows_that_no_stored_state_can_give_are_trained_again() -> None:
    stored = Trained(plan(points_of("peak=1")))
    denser = stored.plan("peak=1 evaluate.every=0.05x")
    assert steps(denser) == STEP - 12  # from the end of the warm-up: up to there the grid did not change


def test_points_that_are_one_program_are_one_run() -> None:
    points = points_of("schedule=constant lr=1e-3", "schedule=constant lr=2e-3", "schedule=constant warmup=0.5")
    assert len(points) == 1
    assert len(points[0].labels) == 3


def test_a_missing_stop_below_a_stored_end_is_not_made_again() -> None:
    planned = plan(points_of("peak=1"))
    stored = Trained(planned)
    end = planned.points[0].path[-1].address
    stored.states = {end: stored.states[end]}
    only_end = stored.plan("peak=1")
    assert only_end.to_train == []


@pytest.mark.slow
def test_ten_thousand_runs_are_planned_within_seconds() -> None:
    one = run_of("peak=1")
    cpt = one.stages[1]
    assert cpt.schedule is not None
    from dataclasses import replace

    from harness.plan.plan import compile_points

    runs = []
    for i in range(10_000):
        schedule = replace(cpt.schedule, max_lr=1e-3 + i * 1e-7)
        runs.append((str(i), replace(one, stages=(one.stages[0], replace(cpt, schedule=schedule)))))
    start = time.monotonic()
    planned = plan(compile_points(runs))
    assert time.monotonic() - start < 60  # a hang, not a benchmark: `make bench` measures
    assert len(planned.points) == 10_000
    assert steps(planned) == BASE + 10_000 * STEP


def test_the_plan_of_the_demo_works_without_a_store_and_without_torch(tmp_path: object) -> None:
    script = (
        "import sys; sys.argv = ['harness', '-cd', 'sweeps', '-cn', 'demo', 'do=plan', 'json=true', "
        f"'root={tmp_path}/none']\n"
        "from harness.__main__ import main\nfrom harness.cli import run_command\n"
        "status = run_command(main)\n"
        "assert not any(m in sys.modules for m in ('torch', 'transformers', 'tokenizers'))\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "rewarm.plan/1"
    assert document["runs"] == 16
    assert document["tokens_planned"] < document["tokens_if_separate"] / 3
    assert {point["status"] for point in document["points"]} == {"to train"}
