"""From two folders whose held-out texts stand in part in those to train on, to final losses without them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.results.runs import read_runs
from harness.corpora.corpus import Corpus, open_corpus, recipe_of_key
from harness.plan.exposure import Exposure
from harness.plan.recorded_runs import corpus_names
from harness.store.store import Store
from tests.called import document, refused
from tests.launched import launched

KNOBS = "validation=0.15 evaluate.final_windows=1000"


def write(folder: Path) -> None:
    """120 documents each; 40 of them share all but their first line with another one of upstream, on either side."""
    generator = random.Random(1)
    words = ["".join(generator.choice("aeioubdfglmnprst") for _ in range(generator.randint(2, 7))) for _ in range(300)]

    def lines(number: int) -> str:
        return "\n".join(" ".join(generator.choice(words) for _ in range(9)).capitalize() + "." for _ in range(number))

    for name in ("upstream", "downstream"):
        (folder / name).mkdir(parents=True)
        for number in range(80):
            (folder / name / f"plain-{number:03}.txt").write_text(lines(10))
    for number in range(40):
        body = lines(10)
        other = "upstream" if number < 20 else "downstream"
        (folder / "upstream" / f"twin-{number:03}-a.txt").write_text(f"{lines(1)}\n{body}")
        (folder / other / f"twin-{number:03}-b.txt").write_text(f"{lines(1)}\n{body}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a store with one run."""
    folder = tmp_path_factory.mktemp("dirty")
    write(folder)
    assert not launched(folder, folder / "root", [f"replay=0.25 {KNOBS}"]).failures
    return folder / "root"


def corpora_of(root: Path) -> dict[str, Corpus]:
    (run,) = read_runs(root)
    names = corpus_names(run.document)
    return {name: open_corpus(root, recipe_of_key(root, key)) for key, name in names.items()}


def held_out_windows(root: Path, name: str) -> tuple[list[str], list[str]]:
    """(the text, and the text of the middle 13 tokens) of each validation window."""
    corpus = corpora_of(root)[name]
    tokens = corpus.validation.read(np.arange(corpus.validation.windows(16)), 16)
    decode = corpus.tokenizer().decode
    return [decode(row.tolist()) for row in tokens], [decode(row[2:15].tolist()) for row in tokens]


def entries(capsys: pytest.CaptureFixture[str], root: Path, *more: str) -> dict[str, Any]:
    found = document(capsys, "clean", "--root", str(root), *more)
    assert found["schema"] == "rewarm.clean/1"
    return found


def test_dirty_windows_are_those_whose_text_is_trained_on(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The oracle looks for texts, not for tokens."""
    corpora = corpora_of(trained)
    texts = "\n".join(c.tokenizer().decode(c.train.span(0, c.train.tokens).tolist()) for c in corpora.values())
    (run,) = read_runs(trained)
    (entry,) = entries(capsys, trained)["runs"]
    for name in ("upstream", "downstream"):
        whole, middle = held_out_windows(trained, name)
        clean = Exposure(Store(trained)).clean(run.document, run.facts.finals[name])
        assert clean is not None
        assert len(clean) == len(whole) > 150
        contained = np.array([text in texts for text in whole])
        about = np.array([text in texts for text in middle])
        assert contained.sum() >= 10
        assert (contained & ~clean).sum() >= 0.95 * contained.sum()
        assert (~clean & about).sum() >= 0.95 * (~clean).sum()
        assert entry["corpora"][name]["dirty"] == (~clean).sum()
        assert entry["corpora"][name]["windows"] == len(clean)
    assert entry["corpora"]["downstream"]["contained_in"]["upstream"] >= 5  # twins of the other corpus
    assert entry["corpora"]["upstream"]["contained_in"]["upstream"] >= 5


def test_final_losses_are_of_the_clean_windows_and_the_others_stand_beside(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = read_runs(trained)
    (entry,) = entries(capsys, trained)["runs"]
    (listed,) = document(capsys, "runs", "--root", str(trained))["runs"]
    for name in ("upstream", "downstream"):
        ends = run.windows(name)
        assert ends is not None
        assert ends.end.clean is not None
        clean, losses = ends.end.clean, ends.end.loss_sum / ends.end.tokens
        told = entry["corpora"][name]["loss"]
        assert told["clean"] == listed["loss"][name] == pytest.approx(losses[clean].mean())
        assert told["dirty"] == pytest.approx(losses[~clean].mean())
        assert told["all"] == pytest.approx(losses.mean())
        assert listed["on_all_windows"]["loss"][name] == pytest.approx(losses.mean(), rel=1e-6)
        assert listed["measured"][name] == {
            "windows": clean.sum(),
            "positions": 1,
            "is": "end",
            "dirty": (~clean).sum(),
        }
    assert listed["forgetting"] == pytest.approx(listed["loss"]["upstream"] - listed["base_loss"]["upstream"])
    assert entry["forgetting"]["clean"] == pytest.approx(listed["forgetting"])
    assert entry["adaptation"]["all"] == pytest.approx(listed["on_all_windows"]["adaptation"], abs=1e-6)
    assert entry["forgetting"]["all"] != entry["forgetting"]["clean"]
    main(["runs", "--root", str(trained)])
    text = capsys.readouterr().out
    dirty = [entry["corpora"][name]["dirty"] for name in ("upstream", "downstream")]
    assert f"without windows that are contained in what is trained on ({dirty[0]} of upstream, {dirty[1]} of" in text
    assert "against that on all windows" in text
    main(["show", listed["run"], "--root", str(trained)])
    assert f"upstream     {listed['loss']['upstream']:.4f}" in capsys.readouterr().out


def test_what_the_run_has_read_grows_with_its_position(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = read_runs(trained)
    (entry,) = entries(capsys, trained)["runs"]
    before = run.facts.run[:12]
    for name in ("upstream", "downstream"):
        found = entry["corpora"][name]
        assert 0 <= found["read"]["base"] <= found["read"]["end"] <= found["dirty"]
        assert found["read"]["perhaps"] == 0
    assert entry["corpora"]["upstream"]["read"]["base"] > 0
    (none,) = entries(capsys, trained, before, "--at", "0")["runs"]
    assert none["corpora"]["upstream"]["read"]["end"] == 0
    whole = entries(capsys, trained, before)
    assert {one["corpus"] for one in whole["windows"]} == {"upstream", "downstream"}
    assert all("twin" in one["trained_on"][0] for one in whole["windows"] if one["share"] == 1)
    read = {(one["corpus"], one["window"]) for one in whole["windows"] if one["read"]}
    assert len(read) == sum(found["read"]["end"] for found in entry["corpora"].values())
    main(["clean", before, "--root", str(trained)])
    text = capsys.readouterr().out
    assert "in upstream, read: twin-" in text
    assert "80% of its distinct 13-grams" in text


def test_what_nobody_has_looked_for_is_said_and_looked_for(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store of before; nothing else of it changes."""
    (before,) = entries(capsys, trained)["runs"]
    made = sorted((trained / "corpora").glob("*/overlap-*.npz"))
    contents = {file: file.read_bytes() for file in made}
    manifests = {file: file.read_bytes() for file in (trained / "corpora").glob("*/manifest.json")}
    assert len(manifests) == 2
    assert len(made) == 8  # of each corpus the windows along the way and those of ends, in each
    for file in made:
        file.unlink()
    (listed,) = document(capsys, "runs", "--root", str(trained))["runs"]
    assert listed["on_all_windows"] is None
    assert "dirty" not in listed["measured"]["upstream"]
    assert listed["loss"]["upstream"] == pytest.approx(before["corpora"]["upstream"]["loss"]["all"], rel=1e-6)
    main(["runs", "--root", str(trained)])
    assert "losses: all windows count, contained in what is trained on or not" in capsys.readouterr().out
    (again,) = entries(capsys, trained)["runs"]
    assert again == before
    assert {file: file.read_bytes() for file in made} == contents
    made[0].write_bytes(b"damaged")
    assert entries(capsys, trained)["runs"] == [before]
    assert made[0].read_bytes() == contents[made[0]]
    assert {file: file.read_bytes() for file in manifests} == manifests


def test_a_damaged_corpus_is_not_looked_at_and_nothing_is_called_clean(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, root := tmp_path / "root")
    for file in (root / "corpora").glob("*/overlap-*.npz"):
        file.unlink()
    for shard in (root / "corpora").glob("*/shard-*"):
        shard.write_bytes(bytes(shard.stat().st_size))
    main(["clean", "--root", str(root)])
    told = capsys.readouterr()
    assert "warning: corpus" in told.err
    assert "the checksum does not match; the folder was set aside" in told.err
    assert "of 1 runs it is not known which windows are dirty" in told.out
    (entry,) = entries(capsys, root)["runs"]
    assert {one["dirty"] for one in entry["corpora"].values()} == {None}
    assert {one["loss"]["clean"] for one in entry["corpora"].values()} == {None}


def test_where_no_window_is_clean_all_of_them_count_and_that_is_said(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.measure.overlap.DIRTY", 0.0)
    main(["runs", "--root", str(trained)])
    assert "losses: all windows count, contained in what is trained on or not" in capsys.readouterr().out
    main(["clean", "--root", str(trained)])
    assert "in 1 runs fewer than two windows of a corpus are clean: its final losses are of all windows" in (
        capsys.readouterr().out
    )


def test_runs_that_kept_no_losses_of_windows_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    launched(
        tmp_path, tmp_path / "root", ["replay=0.25 validation=0.15 evaluate.windows=100 evaluate.final_windows=null"]
    )
    (entry,) = entries(capsys, tmp_path / "root")["runs"]
    found = entry["corpora"]["upstream"]
    assert found["dirty"] > 0
    assert found["loss"]["clean"] is None
    assert found["loss"]["all"] is not None
    main(["clean", "--root", str(tmp_path / "root")])
    assert "1 runs kept no losses of single windows at their ends: their final losses are of all windows" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no such run"),
        (["--where", "replay == 0.5"], "it leaves no row"),
        (["--where", "replai == 0.5"], "replai"),
        (["--at", "3"], "a step of which run?"),
        (["RUN", "--at", "300"], "the run has 100 steps"),
    ],
)
def test_wrong_input_is_one_line(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    (run,) = read_runs(trained)
    given = [run.facts.run if argument == "RUN" else argument for argument in arguments]
    assert said in refused(monkeypatch, capsys, "clean", *given, "--root", str(trained))
