"""What is recorded of a run is enough to look into it and to measure it, wherever its texts have gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis import __main__ as analysis_main
from analysis.results.run_record import base_losses, summary
from analysis.results.runs import read_runs
from harness import __main__ as harness_main
from harness import evaluate, peek
from harness.core.errors import CorruptError, InputError
from harness.plan.recorded_corpora import completed
from harness.plan.recorded_runs import find_run, program_of
from harness.store.store import Store
from harness.train.loop import Trainer
from tests.repository import REPOSITORY
from tests.tiny import KNOBS, write_texts


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts and the store of one run, made there."""
    folder = tmp_path_factory.mktemp("trained")
    write_texts(folder)
    texts = [f"{name}={folder / name}" for name in ("upstream", "downstream")]
    assert harness_main.main([*KNOBS.split(), *texts, "name=mine", f"root={folder / 'runs'}"]) == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its store, to be worked in."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def without_texts(here: Path) -> None:
    """As if the texts had been moved after the run."""
    for path in (here / "runs" / "runs").glob("*/run.json"):
        document = json.loads(path.read_text())
        document["config"] |= {"upstream": "gone/up", "downstream": "gone/down"}
        path.write_text(json.dumps(document, indent=1))


def test_a_program_comes_back_as_it_was(here: Path) -> None:
    document = find_run(Store(here / "runs"), "mine")
    assert program_of(document).address() == document["address"]
    document["program"]["phases"][0]["later"] = 1
    with pytest.raises(CorruptError, match=r"run.json of mine: not a program"):
        program_of(document)


def test_a_record_whose_program_is_another_is_refused(here: Path) -> None:
    (path,) = (here / "runs" / "runs").glob("*/run.json")
    document = json.loads(path.read_text())
    document["phase_steps"][0] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(CorruptError, match="does not have its address"):
        peek.main(["mine", "--at", "1"])


def test_corpora_that_were_deleted_are_made_again_while_the_texts_are_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert peek.main(["mine", "--at", "80"]) == 0
    before = capsys.readouterr().out
    shutil.rmtree(here / "runs" / "corpora")
    assert peek.main(["mine", "--at", "80"]) == 0
    assert capsys.readouterr().out == before
    shutil.rmtree(here / "runs" / "corpora")
    without_texts(here)
    with pytest.raises(InputError, match=r"run=mine: the store has lost the tokens of downstream.*gone/up: no such"):
        peek.main(["mine", "--at", "80"])


def corpus_folder(here: Path, name: str) -> Path:
    """The folder of the corpus that was made under a name."""
    manifests = (here / "runs" / "corpora").glob("*/manifest.json")
    (found,) = (path.parent for path in manifests if json.loads(path.read_text())["name"] == name)
    return found


def test_a_damaged_corpus_is_made_again_or_missed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = corpus_folder(here, "downstream").glob("shard-train*.bin")
    shard.write_bytes(bytes(shard.stat().st_size))
    assert peek.main(["mine", "--at", "80"]) == 0
    captured = capsys.readouterr()
    assert "set aside" in captured.err
    assert "--- slot 0: downstream" in captured.out


def test_other_texts_under_the_old_path_are_refused(here: Path, trained: Path) -> None:
    shutil.copytree(trained / "upstream", here / "gone" / "up")
    shutil.copytree(trained / "upstream", here / "gone" / "down")
    without_texts(here)
    assert peek.main(["mine", "--at", "80"]) == 0  # the store has them
    shutil.rmtree(corpus_folder(here, "downstream"))
    with pytest.raises(InputError, match="its texts or packages are no longer those it was made with"):
        peek.main(["mine", "--at", "80"])


def test_what_is_measured_is_counted_not_what_was_planned(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_texts(here)

    def broken(*_: Any) -> Any:
        raise OSError("it cannot be read")

    monkeypatch.setattr(Trainer, "measure_stored", broken)
    assert evaluate.main(["mine", "windows=5", "launch=inline"]) == 1
    assert "\n0 measurements of stored states added, 0 tokens trained; " in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert evaluate.main(["mine", "windows=5", "launch=inline"]) == 0
    (run,) = read_runs(here / "runs", windows=5)
    assert set(base_losses(run)) == {"upstream", "downstream"}
    added = len({row.key for row in run.rows})
    assert f"\n{added} measurements of stored states added, 0 tokens trained\n" in capsys.readouterr().err


def test_measuring_checks_what_training_checks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged states, the disk, and states that lie in a parent store."""
    document = find_run(Store(here / "runs"), "mine")
    with monkeypatch.context() as patched:
        patched.setattr("harness.cli.totals", lambda _: {"disk_bytes": 1 << 80, "runs": 1})
        with pytest.raises(InputError, match="the plan stores"):
            evaluate.main(["mine", "windows=5", "launch=inline"])
    shutil.move(here / "runs" / "states", here / "parent" / "states")
    shutil.copy(here / "runs" / "store.json", here / "parent" / "store.json")
    with pytest.raises(InputError, match="mine: its final state is not stored"):
        evaluate.main(["mine", "windows=5", "launch=inline"])
    assert evaluate.main(["mine", "windows=5", "launch=inline", "parent_stores=[parent]"]) == 0
    weights = here / "parent" / "states" / document["address"] / "weights.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(InputError, match="mine: its final state is not stored"):
        evaluate.main(["mine", "windows=6", "launch=inline", "parent_stores=[parent]"])


def test_a_config_of_before_has_the_defaults_of_later_keys(here: Path) -> None:
    settings = find_run(Store(here / "runs"), "mine")["config"]
    del settings["evaluate"]["early"], settings["replay"]
    filled = completed(settings)
    assert filled["replay"] == 0
    assert filled["evaluate"]["windows"] == settings["evaluate"]["windows"]
    assert "early" in filled["evaluate"]


def test_what_may_be_deleted_leaves_results_and_what_continues_from_them(
    here: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While nothing runs: jobs, failures, leases, corpora, and states that are not the ends of runs."""
    (before,) = read_runs(here / "runs")
    store = Store(here / "runs")
    for folder in ("jobs", "failures", "leases", "corpora"):
        shutil.rmtree(here / "runs" / folder, ignore_errors=True)
    for address in store.addresses() - {before.document["address"]}:
        store.remove(address)
    (after,) = read_runs(here / "runs")
    assert summary(after) == summary(before)
    texts = [f"{name}={trained / name}" for name in ("upstream", "downstream")]
    assert harness_main.main([*KNOBS.split(), *texts, "name=mine"]) == 0
    assert capsys.readouterr().err == "1 runs: all done, nothing to train\n"
    assert harness_main.main([*KNOBS.split(), *texts, "name=longer", "tokens=3840", "horizon=2560"]) == 0
    assert "1.28k are to train in 1 segments" in capsys.readouterr().err
    assert sorted(run.status for run in read_runs(here / "runs")) == ["done", "done"]


@pytest.mark.usefixtures("here")
def test_do_plan_and_show_say_the_same_of_phases(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{name}={trained / name}" for name in ("upstream", "downstream")]
    assert harness_main.main([*KNOBS.split(), *texts, "name=mine", "do=plan", "json=true"]) == 0
    (point,) = json.loads(capsys.readouterr().out)["points"]
    assert analysis_main.main(["show", "mine", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["phases"]
    assert [{key: phase[key] for key in shown[0]} for phase in point["phases"]] == shown


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of -cd and the store of one run on its corpora, whose files and texts have gone since."""
    folder = tmp_path_factory.mktemp("listed")
    write_texts(folder)
    (folder / "corpus").mkdir()
    tokenizer = next((REPOSITORY / "tests/golden/store").rglob("tokenizer.json"))
    for name in ("upstream", "downstream"):
        lines = [
            json.dumps({"text": file.read_text(), "set": "AB"[k % 2]}) + "\n"
            for k, file in enumerate(sorted((folder / name).glob("*.txt")))
        ]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    parts = "parts: {A: {weight: 0.5, where: {set: [A]}}, B: {weight: 0.5, where: {set: [B]}}}\n"
    for name, file, more in (
        ("ok", "upstream", ""),
        ("mix", "downstream", parts),
        ("late", "upstream", "tokens: 20k\n"),
        ("split", "upstream", parts),
    ):
        (folder / "corpus" / f"{name}.yaml").write_text(
            f"kind: files\nfiles: {folder}/{file}.jsonl\nvalidation: 0.2\n{more}"
        )
    given = [
        *KNOBS.replace("shift=local", "shift=ok_to_mix").split(),
        f"tokenizer={tokenizer}",
        "model.vocab_size=2048",
    ]
    assert harness_main.main(["-cd", str(folder), *given, "name=mine", f"root={folder / 'runs'}"]) == 0
    return folder


@pytest.mark.slow
def test_any_corpus_is_measured_by_a_run_on_corpora_of_ones_own(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(listed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "downstream.jsonl").unlink()
    for path in ("corpus/ok.yaml", "corpus/mix.yaml"):
        (tmp_path / path).unlink()
    sets = f"late,split.B,mix.A,p.5=./upstream.jsonl,glob=file://{tmp_path}/upstream*.jsonl"
    call = [
        "mine",
        f"sets={sets}",
        "windows=3",
        "launch=inline",
        "corpus.glob.validation=0.3",
        "--corpus.split.tokens=9k",
    ]
    assert evaluate.main([*call, "-cd", str(tmp_path)]) == 0
    (run,) = read_runs(Path("runs"), windows=3)
    assert {row.corpus for row in run.rows} >= {"late", "split.B", "mix.A", "p.5", "glob", "ok", "mix"}
    made = [json.loads(path.read_text()) for path in Path("runs/corpora").glob("*/manifest.json")]
    assert len({one["recipe"]["tokenizer"]["file"] for one in made}) == 1, "all in the run's tokens"
    recipes = {one["name"]: one["recipe"] for one in made}
    assert recipes["glob"]["validation"] == 0.3
    assert recipes["split"]["source"]["tokens"] == 9000
    capsys.readouterr()
    shutil.rmtree(tmp_path / "corpus")
    assert evaluate.main(["mine", "sets=late,p.5=./upstream.jsonl", "windows=4", "launch=inline"]) == 0, "known by now"
    Path("runs/x.jsonl").write_bytes(Path("upstream.jsonl").read_bytes()[:20000].rpartition(b"\n")[0])
    before = sorted(Path("runs/corpora").iterdir())
    for given, why in {
        "windows=1": "windows=1: B of mix would get no window, and its loss not be that of the mixture; give at least",
        "sets=split2": "sets=split2: no such corpus as split2; ",
        "sets=mix.C5": "evaluate.sets=mix.C5: mix has no part C5; known: A, B",
        "sets=./data/p5.jsonl": "sets=./data/p5.jsonl: it needs a name in tables; give p5=./data/p5.jsonl",
        "sets=y=./data/p5.jsonl": "sets=y=./data/p5.jsonl: no such file",
        "sets=[y=./data/p5.jsonl]": "no brackets stand around it here; give sets=y=./data/p5.jsonl",
        "sets=y=p5": "sets=y=p5: p5 is neither a path nor a URL",
        "sets=p.5=./runs/x.jsonl": "sets=p.5=./runs/x.jsonl: other texts are called p.5 already",
        "sets=cpp=./upstream.jsonl": "sets=cpp=./upstream.jsonl: a corpus of conf/ is called cpp",
        "sets=cpp -cd none": "none: no such folder",
        "sets=cpp -cn demo": "-cn=demo: stored runs are measured",
        "sets=new=file:///x corpus.new.txt=a": "corpus.new.txt=a: not a key of a corpus of kind files; did you mean",
        "sets=new=./upstream.jsonl corpus.new.text=a": "corpus.new.text=a: new is a path, which has no keys",
        "sets=late corpus.late.text=a": "corpus.late.text=a: mine has a corpus late, and its keys stand in its record",
        "sets=mix.A corpus.mix.tokens=9": "corpus.mix.tokens=9: mine has a corpus mix",
        "sets=cpp corpus.sympy.sample=.5": "corpus.sympy.sample=0.5: sets= names no sympy; give sets=sympy",
        "sets=cpp corpus.sample=.5": "corpus.sample=.5: unknown key",
        "sets=cpp corpus.cpp.sample=1,2": "corpus.cpp.sample=1,2: 2 values",
    }.items():
        with pytest.raises(InputError) as caught:
            evaluate.main(["mine", *given.split(), "launch=inline"])
        assert why in str(caught.value)
        assert given != "sets=split2" or "-cd FOLDER" in caught.value.remedy
    assert sorted(Path("runs/corpora").iterdir()) == before


def test_a_run_on_folders_measures_any_corpus_in_its_own_tokens(here: Path, trained: Path) -> None:
    without_texts(here)
    (here / "p.jsonl").write_text(
        "".join(json.dumps({"text": f.read_text()}) + "\n" for f in trained.glob("*stream/0*.txt"))
    )
    (here / "corpus").mkdir()
    (here / "corpus" / "law.yaml").write_text(f"kind: files\nfiles: {here}/p.jsonl\nvalidation: 0.2\n")
    assert evaluate.main(["mine", "sets=y=./p.jsonl,law", "-cd", ".", "launch=inline"]) == 0
    (run,) = read_runs(Path("runs"))
    assert {"y", "law"} <= {row.corpus for row in run.rows}
    made = {path.read_bytes() for path in Path("runs/corpora").glob("*/tokenizer.json")}
    assert len(made) == 1
