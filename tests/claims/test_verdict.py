"""Verdicts on planted runs, and what is said where runs are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.claims.claims import CLAIMS
from analysis.claims.command import committed, read_tables
from analysis.claims.verdict import Verdict, judge
from analysis.measures.arms import ends_by_run
from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, UNTESTABLE
from analysis.results.tables import COLUMNS
from harness.core.errors import InputError

SEEDS = range(10, 16)
H = (0.01, 0.02, 0.17, 0.5, 0.9, 0.95, 1.0)
Knobs = dict[str, Any]
Arms = list[tuple[Knobs, float, float]]


def planted(arms: Arms, seeds: Any = SEEDS, noise: float = 0.004) -> pd.DataFrame:
    """Measurements of arms (knobs, final U, final V); curves lie at their ends but for a spike that nobody asks for."""
    random = np.random.default_rng(0)
    rows = []
    for seed in seeds:
        luck = 0.05 * random.standard_normal()  # of the base: common to a seed, so that pairing takes it out
        for number, (knobs, U, V) in enumerate(arms):
            settings: Knobs = {"upstream": "docs", "downstream": "python", "schedule": "cosine", "start": "pretrain"}
            settings |= {"warmup": 0.01, "peak": 1.0, "replay": 0.0, "lr": 0.003, "at": 1.0}
            settings |= {"optimizer_state": "reset", "scale": "mini", "model": "mini", "run_tokens": 1000} | knobs
            name = f"{settings['upstream']}_{settings['downstream']}-{number}-seed{seed}"
            own = noise * random.standard_normal(2)
            for corpus, role, final, base in (
                (settings["upstream"], "upstream", U + luck + own[0], 3.0 + luck),
                (settings["downstream"], "downstream", V + luck + own[1], 5.0 + luck),
            ):
                shared = {**settings, "run": name, "seed": seed, "corpus": corpus, "role": role}
                shared |= {"base_address": f"base {seed}", "status": "done"}
                rows += [{**shared, "D": round(h * 1000), "windows": 64, "loss": final + 0.1} for h in H]
                many = {**shared, "windows": 1024}
                rows += [{**many, "D": 1000, "loss": final}, {**many, "D": 0, "loss": base}]
                rows += [{**shared, "D": 0, "windows": 64, "loss": base}]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    return table.assign(position=table.D)


def one(table: pd.DataFrame, name: str) -> Verdict:
    (found,) = judge(table, [claim for claim in CLAIMS if claim.id == name])
    return found


OTHER = {"upstream": "docs", "downstream": "cpp"}
REPLAY: Arms = [({"replay": x}, 4.5 - 0.3 * i, 2.5 + 0.02 * i) for i, x in enumerate((0.0, 0.05, 0.25, 0.5))]


def test_ends_are_those_of_the_last_position_on_many_windows() -> None:
    ends = ends_by_run(planted([({}, 4.5, 2.5)], noise=0.0))
    assert (ends.U - ends.U_base).to_numpy() == pytest.approx(1.5)
    assert (ends.V_base - ends.V).to_numpy() == pytest.approx(2.5)
    assert ends.alone.all()


def test_an_order_that_holds_is_reproduced_and_one_that_does_not_is_contradicted() -> None:
    both = [({**OTHER, **knobs}, U, V) for knobs, U, V in REPLAY]
    found = one(planted([*REPLAY, *both]), "S2")
    assert ({part.verdict for part in found.parts}, found.changes, len(found.parts)) == ({REPRODUCED}, 0, 6)
    assert any("removes 0.20" in line for line in found.beside), found.beside
    assert found.verdict == INCONCLUSIVE  # which shift is the stronger is not looked at yet
    assert "not looked at: forgetting of the stronger shift" in found.why
    turned = [({**knobs, "replay": 0.5 - knobs["replay"]}, U, V) for knobs, U, V in both]
    assert one(planted([*REPLAY, *turned]), "S2").verdict == CONTRADICTED


def test_re_warmed_runs_beat_scratch_only_where_they_are_as_long_as_the_base() -> None:
    arms: Arms = [({"peak": peak}, 4.5, 2.5) for peak in (0.5, 1.0, 2.0)]
    arms.append(({"start": "scratch", "at": np.nan}, 6.0, 4.0))
    long: Arms = [({**knobs, "base_tokens": 1000}, U, V) for knobs, U, V in arms]
    found = one(planted(long), "R4")
    assert found.verdict == REPRODUCED
    assert "leaves out what the choice of windows does" in found.why
    short = one(planted([({**knobs, "base_tokens": 5000}, U, V) for knobs, U, V in arms]), "R4")
    assert short.verdict == UNTESTABLE
    assert "no run of as many tokens as its base" in short.why


def test_one_shift_is_not_two() -> None:
    found = one(planted(REPLAY), "S2")
    assert found.verdict == UNTESTABLE
    assert "it takes 2 shifts" in found.why


def test_the_pilot_settles_nothing_and_says_what_it_takes() -> None:
    found = one(planted(REPLAY, seeds=range(3)), "S3")
    assert (found.verdict, found.parts) == (UNTESTABLE, ())
    assert [part.verdict for part in found.pilot] == [REPRODUCED]
    assert "no runs of seeds from 10 on; by the pilot" in found.why


def test_too_few_seeds_are_inconclusive_and_told_what_they_could_have_told() -> None:
    arms: Arms = [
        ({}, 4.5, 2.5),
        ({"schedule": "warmup_constant"}, 4.5, 2.501),
        ({"schedule": "constant", "lr": 1e-4}, 4, 2.6),
    ]
    found = one(planted([*arms, *(({**OTHER, **knobs}, U, V) for knobs, U, V in arms)]), "S1")
    assert found.verdict == INCONCLUSIVE
    assert "could have told" in found.why
    assert found.settled is not None
    assert found.settled.needed is not None
    assert found.settled.needed > len(SEEDS)


def test_equality_and_no_worse_on_planted_runs() -> None:
    lengths: Arms = [({"warmup": share}, 4.5, 2.5) for share in (0.0, 0.005, 0.01, 0.02)]
    both = [*lengths, *(({**OTHER, **knobs}, U, V) for knobs, U, V in lengths)]
    assert one(planted(both), "R1").verdict == REPRODUCED
    worse = [(knobs, U, V + (0.3 if knobs["warmup"] == 0 else 0)) for knobs, U, V in both]
    assert one(planted(worse), "R1").verdict == CONTRADICTED
    costly = [({}, 4.5, 2.5), ({"replay": 0.25}, 4.0, 3.2)]
    assert one(planted(costly), "S3").verdict == CONTRADICTED


def test_peak_and_replay_interact_on_either_side() -> None:
    for more in (0.1, -0.1):
        arms: Arms = [
            (
                {"peak": peak, "replay": replay},
                4.0 + 0.2 * (peak == 2) - 0.5 * (replay > 0) + more * (peak == 2 and replay > 0),
                2.5,
            )
            for peak in (1.0, 2.0)
            for replay in (0.0, 0.05)
        ]
        found = one(planted(arms), "X1")
        assert found.verdict == REPRODUCED
        assert found.settled is not None
        assert found.settled.contrast.mean == pytest.approx(more, abs=0.01)


def test_every_claim_has_a_verdict_from_the_committed_tables() -> None:
    found = judge(read_tables(committed(), "mini"))
    assert [one.claim.id for one in found] == [claim.id for claim in CLAIMS]
    assert len(found) == 28
    assert all(one.why for one in found)
    tested = [one for one in found if one.parts]
    assert all(one.p_adjusted is not None and one.p_adjusted >= one.settled.p for one in tested if one.settled)


def test_holm_is_over_all_claims_tested() -> None:
    arms: Arms = [
        *REPLAY,
        *(({**OTHER, **knobs}, U, V) for knobs, U, V in REPLAY),
        ({"start": "scratch", "at": np.nan}, 6.0, 4.0),
    ]
    found = {one.claim.id: one for one in judge(planted(arms))}
    tested = {name: one for name, one in found.items() if one.parts}
    assert {"S2", "S3", "S5"} <= set(tested)
    raw = {name: one.settled.p for name, one in tested.items() if one.settled}
    least = min(raw, key=lambda name: raw[name])
    assert tested[least].p_adjusted == pytest.approx(min(1, len(raw) * raw[least]))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "rewarm.claims/1"
    assert {"id", "verdict", "why", "statistic", "effect", "interval", "seeds"} <= set(told["claims"][0])
    assert main(["claims", "S2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("NOT TESTABLE  S2 (2403.08763)")


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
