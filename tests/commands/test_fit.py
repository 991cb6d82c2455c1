"""`python -m analysis fit`: what it is told and does not read is refused; it never fits another column in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.__main__ import main
from tests.called import refused
from tests.planted import TRUTH, design, losses


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
        (["--fix", "alpha"], "fix=alpha: not NAME=NUMBER,..."),
        (["--decay", "0.99"], "decay=0.99: plays no part"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_nothing_reads_is_refused(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert told in refused(monkeypatch, capsys, "fit", "chinchilla", "--table", str(runs), *options)


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
    assert main(["fit", "chinchilla", "--table", str(runs), *options]) in (0, 1)
    assert capsys.readouterr().err == ""
