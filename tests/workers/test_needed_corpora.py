"""What a user relies on: texts are asked for no more than the runs that read them need, and the knobs reach them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.plan.jobs import Jobs
from harness.plan.plan import plan
from harness.store.store import Store
from harness.workers import needed_corpora as needed
from harness.workers.needed_corpora import build_corpora, needed_corpora
from tests.composed import points_of, run_of
from tests.tiny import command


def build(root: Path, *runs: str) -> None:
    planned = plan(points_of(*runs))
    build_corpora(needed_corpora(planned, Jobs(planned)), Store(root).root, progress=False)


@pytest.fixture
def short(texts: Path, tmp_path: Path) -> Path:
    """Six documents: some 50 windows of 16 tokens."""
    for number in range(6):
        (tmp_path / "short").mkdir(exist_ok=True)
        shutil.copy(texts / "downstream" / f"{number:03}.txt", tmp_path / "short")
    return tmp_path / "short"


def test_a_corpus_is_held_to_the_batches_of_the_runs_that_read_it(texts: Path, short: Path, tmp_path: Path) -> None:
    small = command(texts, f"downstream={short} validation=0.2")
    large = command(texts, "batch.sequences=128 scale.tokens=20480 scale.horizon=20480 base.tokens=20480")
    build(tmp_path / "root", small, large)
    assert len(list((tmp_path / "root" / "corpora").iterdir())) == 4, "each pair has a tokenizer of its own"
    with pytest.raises(InputError, match=rf"^downstream={short}: train has .*128 needed"):
        build(tmp_path / "root", large.replace(f"downstream={texts}/downstream", f"downstream={short}"))
    with pytest.raises(InputError, match=rf"^downstream={short}: train has .*128 needed"):
        build(tmp_path / "other", small, f"{large} downstream={short} validation=0.2")


def test_a_corpus_that_is_only_measured_needs_no_batch(texts: Path, short: Path, tmp_path: Path) -> None:
    knobs = command(texts, f"+shift.further={{third:{short}}} validation=0.2 evaluate.sets=[upstream,downstream,third]")
    build(tmp_path / "root", f"{knobs} batch.sequences=64 scale.tokens=10240 scale.horizon=10240 base.tokens=10240")


def test_too_few_windows_to_measure_name_the_path_and_a_share_that_will_do(
    texts: Path, short: Path, tmp_path: Path
) -> None:
    knobs = command(texts, f"upstream={short} downstream={short} evaluate.windows=24")
    with pytest.raises(InputError, match=rf"^upstream={short}: validation has .* 24 needed") as caught:
        build(tmp_path / "root", knobs)
    (share,) = re.findall(r"hold out more with validation=([\d.]+),", str(caught.value))
    build(tmp_path / "root", f"{knobs} validation={share}")


def test_the_share_held_out_and_the_longest_document_are_knobs(texts: Path, tmp_path: Path) -> None:
    default = run_of(*command(texts).split()).recipes["upstream"]
    more = run_of(*command(texts, "validation=0.1").split()).recipes["upstream"]
    assert (default.validation, more.validation) == (0.02, 0.1)
    assert more.key != default.key
    assert run_of(*command(texts, "validation=0.02").split()).recipes["upstream"].key == default.key
    limited = command(texts, "corpus.longest_document=300")
    assert run_of(*limited.split()).recipes["upstream"].key == default.key, "it only ever refuses"
    with pytest.raises(InputError, match=r"^(up|down)stream=.*longer than 300 bytes.*corpus\.longest_document=BYTES"):
        build(tmp_path / "root", limited)
    assert not (tmp_path / "root").exists()


def test_overlaps_are_found_where_corpora_are_built_and_later_where_it_takes_seconds(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kept() -> dict[str, bytes]:
        found = {str(file): file.read_bytes() for file in tmp_path.glob("root/corpora/*/overlap-*.npz")}
        for file in found:
            Path(file).unlink()
        return found

    monkeypatch.setattr(needed, "AT_ONCE", 0)
    build(tmp_path / "root", command(texts))
    first = kept()
    assert len(first) == 4
    build(tmp_path / "root", command(texts))
    assert not kept()  # too much to hold a command up for
    monkeypatch.undo()
    build(tmp_path / "root", command(texts))
    assert kept() == first

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.measure.overlap.files.write_file", full)
    build(tmp_path / "root", command(texts))  # training is not held up
    assert "warning: which measured windows are trained on is not known ([Errno 28] No space" in capsys.readouterr().err
