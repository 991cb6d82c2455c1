"""`python -m analysis decide`: the verdict first, for the committed table and a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from harness.plan.plan import PlannedRun
from tests import synthetic_store
from tests.called import document, refused
from tests.repository import REPOSITORY

DEMO = ["--table", str(REPOSITORY / "paper_figures" / "data" / "demo.csv"), "--where", "downstream == 'python'"]
ONE = [*DEMO, "--where", "seed == 0"]


def printed(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> list[str]:
    assert main(["decide", *arguments]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def told(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> dict[str, Any]:
    return document(capsys, "decide", *arguments, status=status)


def test_the_demo_keeps_25_percent_and_no_run_keeps_5(capsys: pytest.CaptureFixture[str]) -> None:
    line = printed(capsys, 0, *ONE, "--tolerance", "25%")[0]
    assert line.startswith("train with peak 1, replay 0.0")
    assert "the next run keeps docs 25.00% with 9" in line
    line = printed(capsys, 1, *ONE, "--tolerance", "5%")[0]
    assert line.startswith("NO ANSWER: no setting that the runs reach raises docs by at most 5.00% with 90%")
    assert "no measured run keeps it; the nearest, peak 1, replay 0.5, warmup 0.01, schedule cosine, raises" in line
    assert line.endswith("try replay above 0.5")


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, 0, *DEMO, "--tolerance", ".25", "--bases", "average")
    assert list(found)[:4] == ["schema", "verdict", "supported", "why"]
    assert found["schema"] == "rewarm.decide/1"
    own = found["recommended"]
    assert set(own["knobs"]) == {"peak", "replay", "warmup", "schedule"}
    assert own["forgetting"]["docs"]["share"] <= 0.25
    low, high = own["forgetting"]["docs"]["interval_run"]
    assert low < own["forgetting"]["docs"]["nats"] < high
    assert 0.9 <= own["p_kept"] <= 1
    assert found["question"]["limits"]["docs"]["share"] == pytest.approx(0.25)
    assert found["nearest"][0]["knobs"]["replay"] == 0.05
    assert found["best_measured"]["n"] == 3
    assert found["surface"]["docs"]["error"] < 0.05
    assert set(found["base_spread"]) == {"docs", "python"}
    assert found["extrapolated"] == {}
    none = told(capsys, 1, *DEMO, "--tolerance", ".01", "--bases", "average")
    assert none["recommended"] is None
    assert (none["verdict"], none["supported"]) == ("no answer", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tolerance", "5"], "tolerance=5: is no share of the base's loss; it looks like percent; write 5%"),
        (["--tolerance", "few"], "write 5% or .05"),
        (["--limit", "python=.1"], "python is what is adapted to"),
        (["--limit", "german=.1"], "german is not measured at every end"),
        (["--limit", "x"], "is no number of nats"),
        (["--limit", ".1", "--tolerance", "5%"], "docs has a limit already"),
        (["--tolerance", "5%", "--weights", "1:1"], "plays no part beside a limit"),
        (["--weights", "1:-1"], "are not two weights U:V"),
        (["--confidence", "90"], "is no probability from .5 to 1"),
        (["--knobs", "peak"], "is not among --knobs"),
        (["--where", "peak == 7"], "it leaves no row"),
        (["--sweep", "demo"], "is for the runs of a store"),
        (["--for-tokens", "20"], "for-tokens=20.0: no run has so few tokens"),
        (["--domain-tokens", "0"], "domain_tokens=0.0: is not a positive finite number"),
        (["--plot", "decision.docx"], "decision.docx"),
    ],
)
def test_a_wrong_question_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(monkeypatch, capsys, "decide", *ONE, *arguments)


def test_one_line_says_which_runs_to_take(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "average them: --bases average" in refused(monkeypatch, capsys, "decide", *DEMO, "--tolerance", "5%")
    assert "add --where \"downstream == 'python'\"" in refused(monkeypatch, capsys, "decide", *DEMO[:2])


def loss(point: PlannedRun, corpus: str, D: int, _: int) -> float:
    """F falls by the replay, A by twice its square: their sum is best at a quarter."""
    replay = float(point.run.config["replay"]) * (D > 0)
    return 3.6 + 0.5 * (D > 0) - replay if corpus == "docs" else 5.7 - 2.0 * (D > 0) + 2 * replay**2


def test_a_store_is_decided_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic_store.write(tmp_path, synthetic_store.points_of(["scalable_replay"], ["base.seed=0", "seed=0,1"]), loss)
    found = told(capsys, 0, "--root", str(tmp_path), "--weights", "1:1")
    assert (found["runs"], found["arms"]) == (14, 7)
    assert found["recommended"]["knobs"]["replay"] == pytest.approx(0.25, rel=0.1)
    assert found["recommended"]["adaptation"]["nats"] == pytest.approx(2 - 2 / 16, abs=0.02)
    assert found["question"]["weights"] == {"docs": 1.0, "python": 1.0}
    scarce = told(capsys, 0, "--root", str(tmp_path), "--weights", "1:1", "--domain-tokens", "1e5")
    assert (scarce["verdict"], scarce["domain_tokens"]["runs_that_repeat"]) == ("extrapolated", 0)
    assert scarce["why"][0].startswith("python is read 4.")
    assert scarce["why"][0].endswith("no run here reads python more than once: nothing measured tells where it turns")
    part = told(capsys, 0, "--root", str(tmp_path), "--sweep", "scalable_replay", "base.seed=0", "seed=1")
    assert part["runs"] == 7


@pytest.mark.slow
def test_the_next_runs_extend_the_same_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is a sweep file, whose runs continue the base of the others and are none of them."""
    root, calls = tmp_path / "runs", ["base.seed=0", "seed=0,1"]
    points = synthetic_store.points_of(["scalable_replay"], calls)
    synthetic_store.write(root, points, loss)
    asked = ["--root", str(root), "--sweep", "scalable_replay", *calls, "--weights", "1:1", "--next", "3e12"]
    text = printed(capsys, 0, *asked)
    assert text[0].startswith("# train with replay")
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "next.yaml").write_text("\n".join(text))
    further = synthetic_store.points_of(["next"], folder=tmp_path / "sweeps")
    assert len(further) == 2
    starts = {point.program.address(point.base_position) for point in points}
    assert {point.program.address(point.base_position) for point in further} == starts
    assert not {point.key for point in further} & {point.key for point in points}
    found = told(capsys, 0, *asked)["next"]
    assert found["regret_predicted"] <= found["regret_now"]
    assert len(found["points"]) == 2
    assert found["flops"] <= 3e12


@pytest.mark.slow
def test_next_runs_that_cannot_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("decide", *ONE, "--tolerance", "25%", "--next")
    assert "give --base-sweep FILE" in refused(monkeypatch, capsys, *asked, "1e13")
    demo = ("--base-sweep", str(REPOSITORY / "sweeps" / "demo.yaml"))
    assert "FLOPs; give that at least" in refused(monkeypatch, capsys, *asked, "1e11", *demo)
    other = refused(monkeypatch, capsys, *asked, "1e13", "--base-sweep", str(REPOSITORY / "sweeps" / "base_peak.yaml"))
    assert "base_peak.yaml trains 3e+06 tokens, and the runs have 6.001e+05" in other
    assert list(tmp_path.iterdir()) == []


def test_a_page_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A column for each knob that differs, and what all rows have in common once."""
    monkeypatch.setenv("COLUMNS", "80")
    found = printed(capsys, 0, *ONE, "--tolerance", "10%")
    assert max(map(len, found)) <= 80
    assert "  replay  n  forgets    said  adapts    said  kept" in found
    assert "  not known, as the runs do not vary it there: peak, warmup, schedule" in found


def test_an_extrapolation_is_no_answer_if_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Inside of the cross, of which the runs do not tell."""
    asked = [*ONE, "--limit", ".6", "--extrapolate"]
    assert told(capsys, 0, *asked)["verdict"] == "extrapolated"
    assert told(capsys, 1, *asked, "--strict")["recommended"] is not None
    assert told(capsys, 0, *asked[:-1], "--strict")["verdict"] == "supported"


@pytest.mark.slow
def test_a_production_run_is_an_extrapolation(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*ONE, "--tolerance", "10%", "--for-tokens", "20e9", "--domain-tokens", "3e9"]
    found = printed(capsys, 0, *asked)
    assert found[0].startswith(
        "EXTRAPOLATED: 20B tokens are 33,330 times the 600k of the runs; peak 1 becomes 0.0357 by"
    )
    assert "python is read 4.27 times; a table does not say how often runs read python" in found[0]
    assert found[1].startswith("of runs of 600k tokens: train with peak 1, replay 0.359")
    assert "  each doubling of tokens: " in "\n".join(found)
    document = told(capsys, 1, *asked, "--strict")
    assert document["for_tokens"]["moved"] == pytest.approx(0.0357, rel=1e-2)
    assert document["domain_tokens"]["epochs"] == pytest.approx(4.27, rel=1e-2)
    own = told(capsys, 0, *ONE, "--tolerance", "10%", "--for-tokens", "6e5", "--strict")
    assert (own["verdict"], "for_tokens" in own) == ("supported", False)
    none = told(capsys, 1, *ONE, "--tolerance", "1%", "--for-tokens", "20e9", "--domain-tokens", "3e9")
    assert (none["verdict"], none["recommended"]) == ("no answer", None)


def test_a_table_of_one_row_a_run_is_told_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text("run,peak,replay,docs,python\na,1,0,5.2,3.4\n")
    line = refused(monkeypatch, capsys, "decide", "--table", str(wide))
    assert "it has no column corpus and none of losses (there are run, peak, replay, docs, python)" in line
    assert "give a row for each run and corpus at D = 0 (the base) and one at its end" in line


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("replay == 0 and (schedule == 'constant' or (peak == 1 and warmup == 0.01))", ("constant", "cosine")),
        ("replay == 0 and peak == 1 and warmup == 0.01", ("the only setting",)),
    ],
    ids=["a category", "one setting"],
)
def test_no_panel_is_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, shown: tuple[str, ...]
) -> None:
    file = tmp_path / "decision.svg"
    printed(capsys, 0, *ONE, "--where", where, "--limit", "2", "--plot", str(file))
    text = file.read_text()
    assert [
        name for name in (*shown, "forgetting of docs (nats)", "measured mean") if f"<!-- {name} -->" not in text
    ] == []


def test_the_figure_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "decision.svg"
    printed(capsys, 0, *ONE, "--tolerance", "25%", "--plot", str(file))
    text = file.read_text()
    assert "forgetting of docs (nats)" in text
    assert "recommended" in text
