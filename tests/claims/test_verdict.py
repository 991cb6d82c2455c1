"""Verdicts on planted runs: how many seeds they take, what stands beside them, and what is said without runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.claims.claims import CLAIMS
from analysis.claims.command import committed, frozen_windows, read_tables
from analysis.claims.page import lines, overview
from analysis.claims.verdict import judge
from analysis.measures.arms import ends_by_run
from analysis.measures.evidence import Evidence
from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, UNTESTABLE
from harness.core.errors import InputError
from tests.measures.planted import OTHER, SCRATCH, Arm, also, judged, planted

REPLAY: list[Arm] = [({"replay": x}, 4.5 - 0.3 * i, 2.5 + 0.02 * i) for i, x in enumerate((0.0, 0.05, 0.25, 0.5))]


def test_ends_are_those_of_the_last_position_on_many_windows() -> None:
    ends = ends_by_run(planted([({}, 4.5, 2.5)], noise=0.0))
    assert (ends.U - ends.U_base).to_numpy() == pytest.approx(1.5)
    assert (ends.V_base - ends.V).to_numpy() == pytest.approx(2.5)
    assert ends.alone.all()


def test_re_warmed_runs_beat_scratch_only_where_they_are_as_long_as_the_base() -> None:
    arms: list[Arm] = [({"peak": peak}, 4.5, 2.5) for peak in (0.5, 1.0, 2.0)]
    arms.append((SCRATCH, 6.0, 4.0))
    found = judged(planted(also({"run_tokens": 5000}, arms), seeds=range(10, 15)), "R4")
    assert found.verdict == REPRODUCED
    assert "leaves out what the choice of windows does" in found.why
    short = judged(planted(arms), "R4")
    assert short.verdict == UNTESTABLE
    assert "no run of as many tokens as its base" in short.why


def test_one_shift_is_not_two() -> None:
    lengths: list[Arm] = [({"warmup": share}, 4.5, 2.5) for share in (0.0, 0.005, 0.01, 0.02)]
    found = judged(planted(lengths), "R1")
    assert (found.verdict, found.settled) == (UNTESTABLE, None)
    assert "it takes 2 shifts" in found.why
    assert judged(planted([*lengths, *also(OTHER, lengths)]), "R1").verdict == REPRODUCED
    worse = [(knobs, U, V + (0.3 if knobs["warmup"] == 0 else 0)) for knobs, U, V in lengths]
    assert judged(planted(worse), "R1").verdict == CONTRADICTED, "one shift on which it fails is enough"


def test_the_pilot_settles_nothing_and_says_what_it_takes() -> None:
    found = judged(planted(REPLAY, seeds=range(3)), "S3")
    assert (found.verdict, found.parts) == (UNTESTABLE, ())
    assert [part.verdict for part in found.pilot] == [REPRODUCED]
    assert "no runs of seeds from 10 on; by the pilot" in found.why


NO_DECAY: list[Arm] = [
    ({}, 4.5, 2.5),
    ({"schedule": "warmup_constant"}, 4.5, 2.501),
    ({"schedule": "constant", "lr": 0.0003, "peak": 0.1}, 4, 2.6),
]

CLEAR = [(knobs, U, V + 0.2 * (knobs != {})) for knobs, U, V in NO_DECAY]
CLEAR += also(OTHER, CLEAR)


def test_an_open_claim_is_told_what_it_could_have_told() -> None:
    found = judged(planted([*NO_DECAY, *also(OTHER, NO_DECAY)]), "S1")
    assert found.verdict == INCONCLUSIVE
    assert "could have told" in found.why
    assert found.settled is not None
    assert found.settled.needed is not None
    assert found.settled.needed > 10


def test_before_the_last_of_its_seeds_a_claim_has_no_verdict_and_after_it_takes_no_more() -> None:
    few = judged(planted(CLEAR, seeds=range(10, 14)), "S1")
    assert (few.verdict, few.settled is not None and few.settled.verdict) == (INCONCLUSIVE, REPRODUCED)
    assert "4 of its 10 seeds are there, which alone are reproduced" in few.why
    assert "4 seeds could have told" in few.why
    enough = judged(planted(CLEAR, seeds=range(10, 24)), "S1")
    assert enough.verdict == REPRODUCED
    assert {part.contrast.n for part in enough.parts} == {10}


def test_a_verdict_that_hangs_on_one_seed_is_told() -> None:
    table = planted(CLEAR)
    table.loc[(table.seed == 19) & (table.schedule == "warmup_constant") & (table.role == "downstream"), "loss"] -= 2
    found = judged(table, "S1")
    assert found.changes == 1
    assert any("gives another verdict for 1 of 1" in line for line in overview([found]))


def test_what_the_order_of_the_data_alone_does_marks_smaller_differences() -> None:
    arms: list[Arm] = [({"peak": peak}, 4.5 + 0.02 * peak, 2.5) for peak in (0.5, 1.0, 2.0)]
    arms.append(({"schedule": "constant", "lr": 0.0003, "peak": 0.1}, 4.0, 2.6))
    table = planted(arms, noise=0.0005)
    orders = planted([({}, 4.5, 2.5)], seeds=range(3, 9), noise=0.0).assign(base_address="one")
    lift = orders.seed.map(dict(zip(range(3, 9), np.linspace(-0.05, 0.05, 6), strict=True)))
    orders["loss"] = orders.groupby(["D", "windows", "role"]).loss.transform("mean") + lift
    sd = np.linspace(-0.05, 0.05, 6).std(ddof=1)
    ends = Evidence.from_table(pd.concat([table, orders], ignore_index=True)).ends
    assert ends.U_order.to_numpy() == pytest.approx(sd, rel=1e-6)
    found = judged(pd.concat([table, orders], ignore_index=True), "R3")
    floors = {part.contrast.name.partition(": ")[2]: part.contrast.floor for part in found.parts}
    assert floors["U, 2x less 1x"] == pytest.approx(sd * 2**0.5)
    assert {name for part in found.parts if part.small and (name := part.contrast.name.partition(": ")[2])} >= {
        "U, 1x less 0.5x",
        "U, 2x less 1x",
    }
    few = Evidence.from_table(pd.concat([table, orders[orders.seed < 8]], ignore_index=True)).ends
    assert few.U_order.isna().all(), "four pairs are too few"


def test_one_training_measured_on_two_grids_is_one_run_the_densest() -> None:
    table = planted([({}, 4.5, 2.5)], seeds=[10]).assign(address="same")
    sparse = table[~table.D.isin((10, 20))].assign(run="sparse")
    found = Evidence.from_table(pd.concat([sparse, table], ignore_index=True))
    assert list(found.ends.run) == [table.run.iloc[0]]


def test_every_claim_has_a_verdict_from_the_committed_tables() -> None:
    found = judge(read_tables(committed(), "mini", frozen_windows(committed())))
    assert [one.claim.id for one in found] == [claim.id for claim in CLAIMS]
    assert len(found) == 28
    assert all(one.why for one in found)
    tested = [one for one in found if one.parts]
    assert all(one.p_adjusted is not None and one.p_adjusted >= one.settled.p for one in tested if one.settled)


def test_holm_is_over_all_claims_tested() -> None:
    arms = [*REPLAY, *NO_DECAY[1:], ({"optimizer_state": "keep"}, 4.5, 2.5)]
    found = {one.claim.id: one for one in judge(planted([*arms, *also(OTHER, arms)]), CLAIMS[:20])}
    tested = {name: one for name, one in found.items() if one.settled}
    assert {"S1", "S9"} <= set(tested)
    raw = {name: one.settled.p for name, one in tested.items() if one.settled}
    least = min(raw, key=lambda name: raw[name])
    assert tested[least].p_adjusted == pytest.approx(min(1, len(raw) * raw[least]))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "rewarm.claims/1"
    assert {"id", "verdict", "why", "statistic", "effect", "interval", "seeds", "train"} <= set(told["claims"][0])
    assert main(["claims", "S2"]) == 0
    first, *_, command, _, count, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("NOT TESTABLE  S2 (2403.08763)")
    assert command.startswith("  to train: python -m harness.sweep scalable_weak scalable_strong seed=10,")
    assert count == "1 claims: 1 not testable"


def test_a_page_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["claims", "R1", "S2", "R9"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    tables = [line for line in told.splitlines() if line.startswith("  pilot, docs to python, 3 seeds: ")]
    assert len(tables) == 3, "a table of tests says once which pair it is of"


def test_an_overview_has_a_verdict_a_claim_and_what_would_be_trained() -> None:
    found = judge(planted([*NO_DECAY, *also(OTHER, NO_DECAY)], seeds=range(3)), CLAIMS[:20])
    told = overview(found)
    assert sum(line.startswith("NOT TESTABLE  ") for line in told) == 20
    commands = [line for line in told if line.startswith("  python -m harness.sweep")]
    assert [line.rpartition("=")[2].count(",") + 1 for line in commands] == [10, 5]
    assert "scalable_sizes" in commands[1]
    assert len(lines(found)) > 2 * len(told)


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="claim=Z9: there is no such claim"):
        main(["claims", "Z9"])
    with pytest.raises(InputError, match="scale=paper: no run is of it"):
        main(["claims", "--scale", "paper"])
    (tmp_path / "f.json").write_text("{}")
    with pytest.raises(InputError, match="is no forecast"):
        main(["claims", "D5", "--forecast", str(tmp_path / "f.json")])
    (tmp_path / "t.csv").write_text("run,loss\na,1\n")
    with pytest.raises(InputError, match="lacks the columns"):
        main(["claims", "--table", str(tmp_path / "t.csv")])
