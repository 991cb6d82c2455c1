"""`python -m analysis fit`: what it is told and does not read is refused; it never fits another column in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.__main__ import main
from tests.called import refused
from tests.planted import TRUTH, design, losses

POOL = ("--pool", "r")  # Chinchilla's law does not read the shares of these runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Losses on D-CPT's law, and beside them 1.1 times as much as val_loss."""
    path = tmp_path_factory.mktemp("fit") / "runs.csv"
    table = losses(design(6), TRUTH, 0, row_noise=0.005)
    table.assign(val_loss=1.1 * table.loss).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--map", "los=val_loss"], "map=los=val_loss: nothing reads a column of this name; write loss=..."),
        (["--map", "Ntok=N"], "map=Ntok=N: nothing reads a column of this name"),
        (["--map", "losses=val_loss", "--target", "loss"], "write loss=..."),
        (["--fix", "alpha=0.3,alpha=0.4"], "fix=alpha=0.3,alpha=0.4: a name is given twice"),
        (["--fix", "alpha"], "fix=alpha: 'alpha' is not NAME=NUMBER"),
        (["--fix", "E=9**9**9"], "fix=E=9**9**9: 'E=9**9**9' is not NAME=NUMBER"),
        (["--map", "D=9**9**9"], "--map=D=9**9**9: it does not evaluate (9**(9**9) is no finite number)"),
        (["--map", "D=1/0", "--where", "D > 0"], "--map=D=1/0: it does not evaluate (1/0 is no finite number)"),
        (["--where", "D > 10**309"], "10**309 is no finite number"),
        (["--sweep", "dcpt"], "sweep=dcpt: is for the runs of a store; give --table FILE or --sweep NAME, not both"),
        (["--corpus", "docs"], "corpus=docs: is for the runs of a store; give --table FILE or --corpus NAME, not both"),
        (["--sweep", "dcpt", "lr=1e-3"], "give --table FILE or --sweep NAME, not both"),
        (["lr=1e-3"], "lr=1e-3: is for the runs of a store; give --table FILE or KNOB=VALUE"),
        (["--decay", "0.99"], "decay=0.99: plays no part"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_nothing_reads_is_refused(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert told in refused(monkeypatch, capsys, "fit", "chinchilla", "--table", str(runs), *options)


@pytest.mark.parametrize("fixed", ["E=1e300", "E=50", "A=1e308,B=1e308"])
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_what_is_fixed_far_from_the_losses_is_refused(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, fixed: str
) -> None:
    by = ["--by", "N"] if command == "compare" else []
    told = refused(monkeypatch, capsys, command, "chinchilla", "--table", str(runs), *POOL, "--fix", fixed, *by)
    assert "with that the best fit of chinchilla misses what it is fitted to by " in told
    assert len(told) < 300


def test_numbers_far_off_are_short(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "chinchilla", "--table", str(runs), *POOL, "--fix", "E=15"]) == 1
    assert max(map(len, capsys.readouterr().out.splitlines())) < 160


def test_compare_refuses_it_too(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(
        monkeypatch, capsys, "compare", "chinchilla", "kaplan", "--table", str(runs), "--map", "los=val_loss"
    )
    assert "nothing reads a column of this name; write loss=..." in told


@pytest.mark.parametrize(
    "options",
    [
        ["--map", "loss=val_loss"],
        ["--map", "C=6*N*D"],  # of another law: one --map serves several
        ["--map", "seen=r", "--where", "seen > 0"],
        ["--map", "who=N+r", "--group", "who"],
        ["--map", "error=val_loss", "--target", "error"],
        ["--map", "w=1", "--weights", "w"],
    ],
    ids=" ".join,
)
def test_what_the_law_or_an_option_reads_may_be_mapped(
    runs: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    fixed = ["--fix", "alpha=0.34", "--fix", "beta=0.28"]  # the rest is found at once
    assert main(["fit", "chinchilla", "--table", str(runs), *POOL, *fixed, *options]) in (0, 1)
    assert capsys.readouterr().err == ""
