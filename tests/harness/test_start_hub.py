"""`start=hf path=OWNER/NAME` and `start=pythia`: planned, trained, planned again without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from analysis import read_runs
from harness import evaluate
from harness.__main__ import main
from harness.compose.compose import collect
from harness.config.run import read_run
from harness.config.start import PUBLISHED, named_checkpoint
from harness.core.errors import InputError
from harness.core.shipped import CONF
from harness.corpora.corpus import open_corpus
from harness.formats import servers
from harness.store.store import Store
from tests.checkpoints import save_neox
from tests.composed import points_of
from tests.hub_server import Hub
from tests.tiny import command, planned, write_texts

SECRET = "hf_verysecret"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and three models as a hub serves them: tiny GPT-NeoX with a tokenizer of these texts."""
    folder = tmp_path_factory.mktemp("hub")
    write_texts(folder)
    store = Store(folder / "store")
    (point,) = planned(folder, store, "").points
    corpus = open_corpus(store.root, point.run.recipes["upstream"])
    for step in (0, 10_000, 143_000):
        save_neox(folder / f"step{step}", step, corpus.folder / "tokenizer.json")
    return folder


@pytest.fixture
def server(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        server.use(monkeypatch, tmp_path, token=SECRET)
        monkeypatch.setattr(servers, "WAITS", (0.0,))
        server.commit("someone/tiny", world / "step0")
        for step in (0, 10_000, 143_000):
            server.commit("EleutherAI/pythia-14m", world / f"step{step}", revision=f"step{step}")
        yield server


def run(world: Path, root: Path, *more: str) -> int:
    brings = ("base.peak",) if "start=pythia" in more else ()  # its own
    return main([*(word for word in command(world, f"root={root}").split() if not word.startswith(brings)), *more])


def plan_of(world: Path, root: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    assert run(world, root, "do=plan", "json=true", *more) == 0
    (point,) = json.loads(capsys.readouterr().out)["points"]
    return point  # type: ignore[no-any-return]


HF = ("start=hf", "path=someone/tiny", "lr=0.01")
PYTHIA = ("start=pythia", "model=pythia-14m", "corpus.vocab_size=300")


@pytest.mark.slow
def test_a_run_from_a_hub_is_the_run_from_its_folder(
    server: Hub, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    point = plan_of(world, root, capsys, *HF)
    commit = server.repositories["model", "someone/tiny"].revisions["main"]
    checkpoint = point["checkpoint"]
    assert isinstance(checkpoint, dict)
    size = (world / "step0" / "model.safetensors").stat().st_size
    assert (checkpoint["commit"], checkpoint["bytes_to_fetch"], point["status"]) == (commit, size, "to train")
    assert server.count("HEAD .*safetensors") == 0  # a plan fetches no weights
    (folder,) = points_of(command(world, f"start=hf path={world}/step0 lr=0.01"))
    assert point["address"] == folder.program.address()

    server.commit("someone/tiny", world / "step0", revision="again")  # another commit of the same files
    assert plan_of(world, root, capsys, *HF, "revision=again")["address"] == point["address"]
    assert run(world, root, *HF) == 0
    assert f"fetching someone/tiny at {commit[:12]}: 1 files" in capsys.readouterr().err
    asked = server.count()
    server.go_offline(monkeypatch)
    shutil.rmtree(tmp_path / "hf_home")
    assert run(world, root, *HF) == 0
    point = plan_of(world, root, capsys, *HF)
    assert point["status"] == "done"
    assert point["model"] == "tiny"
    assert server.count() == asked
    (record,) = read_runs(root)
    assert record.facts.model == "tiny"
    assert record.document["checkpoint"]["commit"] == commit
    assert [member.status for member in read_runs(root, "base_peak", overrides=["grids=[]"])] == ["missing"]
    written = [path for path in root.rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.slow
def test_stored_states_are_measured_where_the_weights_were_fetched(
    server: Hub, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    assert run(world, root, *HF, "name=mine") == 0
    server.go_offline(monkeypatch)
    assert evaluate.main(["mine", "windows=5", "launch=inline", f"root={root}"]) == 0
    (record,) = read_runs(root, windows=5)
    assert {int(row.position) for row in record.rows} >= {0, 40}


def test_what_was_never_resolved_is_planned_and_not_run(
    server: Hub, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.go_offline(monkeypatch)
    root = tmp_path / "root"
    for start in (HF, PYTHIA):
        point = plan_of(world, root, capsys, *start)
        assert (point["status"], point["steps"]) == ("not resolved", 40)
        assert run(world, root, "do=plan", *start) == 0
        captured = capsys.readouterr()
        assert "not resolved" in captured.out
        assert "HF_HUB_OFFLINE is set" in captured.err
        with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
            run(world, root, *start)
    assert not root.exists()
    assert server.count() == 0


@pytest.mark.slow
def test_a_name_that_is_given_is_asked_again_and_a_move_is_told(
    server: Hub, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    first = plan_of(world, root, capsys, *HF)
    named = plan_of(world, root, capsys, *HF, "revision=main")
    assert named["address"] == first["address"]
    server.commit("someone/tiny", world / "step10000")
    asked = server.count()
    assert plan_of(world, root, capsys, *HF)["address"] == first["address"]  # pinned
    assert server.count() == asked
    assert run(world, root, "do=plan", *HF, "revision=main") == 0
    assert "someone/tiny@main has moved from commit" in capsys.readouterr().err
    moved = plan_of(world, root, capsys, *HF, "revision=main")
    assert moved["address"] != first["address"]
    server.go_offline(monkeypatch)
    assert run(world, root, "do=plan", *HF, "revision=main") == 0
    assert "no hub was asked, so it is commit" in capsys.readouterr().err


@pytest.mark.slow
def test_a_parents_checkpoint_serves(server: Hub, world: Path, tmp_path: Path) -> None:
    assert run(world, tmp_path / "parent", *HF) == 0
    asked = server.count()
    child = (f"parent_stores=[{tmp_path}/parent]", "tokens=0.5x", *HF)
    assert run(world, tmp_path / "child", *child) == 0
    assert server.count() == asked
    assert not (tmp_path / "child" / "checkpoints").exists()


SHARES = {0: 0, 0.07: 10_000, 0.19: 27_000, 1: 143_000, 1e-6: 0, 1e-5: 1, 0.0041: 512, 0.0054: 1000}


def test_a_share_of_pre_training_is_the_nearest_published_step() -> None:
    assert len(PUBLISHED) == 154
    (point,) = collect(["start=pythia", "model=pythia-410m"])
    for share, step in SHARES.items():
        point.config["start"] |= {"at": share, "deduped": False}
        assert named_checkpoint(point.config) == ("EleutherAI/pythia-410m", f"step{step}")
        point.config["start"]["deduped"] = True
        assert named_checkpoint(point.config) == ("EleutherAI/pythia-410m-deduped", f"step{step}")


PEAKS = {  # 2304.01373
    "14m": 1e-3,
    "31m": 1e-3,
    "70m": 1e-3,
    "160m": 6e-4,
    "410m": 3e-4,
    "1b": 3e-4,
    "1.4b": 2e-4,
    "2.8b": 1.6e-4,
    "6.9b": 1.2e-4,
    "12b": 1.2e-4,
}


def test_each_size_brings_its_own_peak_floor_and_batch(tmp_path: Path) -> None:
    knobs = ["start=pythia", "model=pythia-410m", "scale.tokens=1e9", f"root={tmp_path}"]
    (moving,), (constant,) = collect([*knobs, "peak=2"]), collect([*knobs, "schedule=constant"])
    assert {file.stem for file in (CONF / "model").glob("pythia-*")} == {f"pythia-{size}" for size in PEAKS}
    for size, peak in PEAKS.items():
        model = yaml.safe_load((CONF / "model" / f"pythia-{size}.yaml").read_text())
        assert model["batch"] == 1024
        for point, factor in ((moving, 2.0), (constant, 0.1)):
            run = read_run({**point.config, "model": model})
            assert run.stages[0].schedule is not None
            assert run.stages[0].schedule.max_lr == pytest.approx(factor * peak)
            assert run.origin is not None
            assert run.origin.repository == f"EleutherAI/pythia-{size}"


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_pythias_are_trained_from_their_steps(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    assert run(world, root, *PYTHIA, "-m", "start.at=0,0.07,1", "do=plan") == 0
    out = capsys.readouterr().out
    assert "from EleutherAI/pythia-14m@step10000, commit" in out
    assert "0.0699 of its pre-training" in out
    assert run(world, root, *PYTHIA, "-m", "start.at=0,0.07,1") == 0
    runs = sorted(read_runs(root), key=lambda record: record.facts.at)
    assert [record.facts.model for record in runs] == ["pythia-14m@step0", "pythia-14m@step10000", "pythia-14m"]
    assert [record.facts.peak for record in runs] == [1, 1, 1]
    assert "pythia-14m-step10000" in runs[1].facts.name
    assert len({record.document["base_address"] for record in runs}) == 3


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("start=pythia",), "model=mini: start=pythia continues a published Pythia"),
        ((*PYTHIA, "start.at=1.5"), "start.at=1.5"),
        ((*PYTHIA, "start.deduped=maybe"), "start.deduped=maybe"),
        ((*PYTHIA, "path=a/b"), "path=a/b: start=pythia names its own"),
        ((*HF, "path=some/none"), "path=some/none: is no folder here, and the hub answers 40"),
        ((*HF, "revision=step9"), "no such revision"),
        ((*HF, "revision=''"), "revision="),
        (("start=hf", "path=someone/tiny"), "a checkpoint does not tell"),
        (("allow_pickled=true",), "allow_pickled=true: no repository of a hub"),
    ],
)
@pytest.mark.usefixtures("server")
def test_what_cannot_be_started_from_is_one_line(world: Path, tmp_path: Path, more: tuple[str, ...], told: str) -> None:
    last = {word.partition("=")[0]: word for word in more}  # the last of two
    with pytest.raises(InputError) as caught:
        run(world, tmp_path / "root", *last.values())
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("root/states/*"))


@pytest.mark.slow
def test_pickled_weights_are_trained_when_allowed(
    server: Hub, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    place = Path(shutil.copytree(world / "step0", tmp_path / "pickled"))
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    server.commit("someone/old", place)
    old, root = ("start=hf", "path=someone/old", "lr=0.01"), tmp_path / "root"
    with pytest.raises(InputError, match=r"allow_pickled=true"):
        run(world, root, *old)
    assert plan_of(world, root, capsys, *old, "allow_pickled=true")["status"] == "not resolved"
    assert run(world, root, *old, "allow_pickled=true") == 0
    server.go_offline(monkeypatch)
    assert plan_of(world, root, capsys, *old)["status"] == "done"
