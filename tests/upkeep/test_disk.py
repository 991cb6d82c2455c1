"""`python -m harness.disk`: what a run needs stays, what nobody needs goes, and a kill leaves a whole store."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest

from harness import __main__ as run
from harness import evaluate
from harness.core import files
from harness.core.errors import InputError
from harness.core.plain import plain
from harness.corpora import tokenizer
from harness.disk import main
from harness.plan.jobs import Jobs
from harness.plan.plan import Plan
from harness.plan.recorded_runs import find_run
from harness.plan.run_file import write_documents
from harness.slurm import submissions
from harness.store.lease import acquire, recorders, recording, removal
from harness.store.store import Store
from harness.store.usage import inventory
from harness.texts.listed import FilesSource, Part
from harness.texts.listings import kept, local_listing, resolve
from harness.texts.recipe import CORPUS_CODE, Recipe, given_tokenizer
from harness.upkeep import unneeded as upkeep
from harness.workers.needed_corpora import Needed
from harness.workers.session import Session
from tests.launched import launched
from tests.tiny import command, end_of, files_of, planned, train

RUNS = ("name=replayed replay=0.25", "name=infinite schedule=infinite_cosine")
processes = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def grown(texts: Path, undisturbed: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two recorded runs with one base."""
    root = tmp_path_factory.mktemp("grown") / "runs"
    shutil.copytree(undisturbed.root, root)
    plan = planned(texts, Store(root), *RUNS)
    assert not plan.to_train
    write_documents(plan, Store(root))
    with removal(root / "leases"):  # a store in which something was trained has had leases
        return root


@pytest.fixture
def root(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "runs"))


def plan_of(texts: Path, root: Path) -> Plan:
    return planned(texts, Store(root), *RUNS)


def called(capsys: pytest.CaptureFixture[str], root: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    """The document of a call."""
    assert main([*arguments, f"root={root}", "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def gone(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one["name"]) for one in document["removed"]}


def bytes_of(root: Path) -> int:
    return sum(entry.bytes for entry in inventory(root) if entry.kind not in ("leases", "verified"))


def base_of(root: Path) -> str:
    return str(find_run(Store(root), "replayed")["base_address"])


def test_nothing_that_a_run_needs_is_removed(root: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gone(called(capsys, root, "gc", "--older", "0d")) == set()
    assert not plan_of(texts, root).to_train


def test_what_a_run_alone_needs_is_what_rm_frees(
    root: Path, texts: Path, grown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = called(capsys, root, "usage")
    own = {run["run"].partition("-")[0]: run["own"] for run in usage["runs"]}
    before = bytes_of(root)
    assert called(capsys, root, "rm", "infinite", "--dry-run")["bytes"] == own["infinite"]
    assert bytes_of(root) == before
    removed = called(capsys, root, "rm", "infinite")
    assert bytes_of(root) == before - removed["bytes"] == before - own["infinite"]
    replayed, infinite = plan_of(texts, root).points
    assert [segment.train for segment in replayed.path] == [False] * len(replayed.path)
    assert any(segment.train for segment in infinite.path)
    assert files_of(Store(root), end_of(replayed)) == files_of(Store(grown), end_of(replayed))
    assert gone(called(capsys, root, "gc", "--older", "0d")) == set()


def test_with_its_last_run_a_corpus_goes_unless_it_is_to_stay(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpora = {("corpora", path.name) for path in root.glob("corpora/*")}
    assert corpora
    kept = gone(called(capsys, root, "rm", "--runs", "*", "--keep-corpora", "--dry-run"))
    assert gone(called(capsys, root, "rm", "--runs", "*")) == kept | corpora
    assert not list(root.glob("states/*")) + list(root.glob("corpora/*")) + list(root.glob("runs/*"))


def forget(root: Path, run: str) -> None:
    """As if rm had been killed after the first thing it does."""
    (folder,) = root.glob(f"runs/{run}-*")
    shutil.rmtree(folder)


def test_what_no_run_needs_goes_once_it_is_old_enough(
    root: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = find_run(Store(root), "infinite")["address"]
    forget(root, "infinite")
    (root / "states" / f".bad-{'1' * 32}-1").mkdir()
    (root / "states" / f".tmp-1-99-{files._machine_mark()}-0000").mkdir()  # of a process that is no more
    alive = root / "states" / files.temporary_name()
    alive.mkdir()
    store = Store(root)
    for at, reason in ((address, "no run"), (base_of(root), "stored since")):
        store.write_failure(at, 3, None, "log", reason)
    (root / "jobs").mkdir(exist_ok=True)
    (root / "jobs" / f"{address}.log").write_text("said")
    (root / "verified").mkdir(exist_ok=True)
    (root / "verified" / f"{'2' * 32}.json").write_text("{}")
    corpus = min(root.glob("corpora/*")).name
    for known in (f"corpora-{corpus}", "corpora-old-0123456789ab"):
        (root / "verified" / f"{known}.json").write_text("{}")
    (root / "runs" / "empty").mkdir()
    young = called(capsys, root, "gc", "--dry-run")
    assert young["removed"] == []
    removed = called(capsys, root, "gc", "--older", "0d")
    assert young["young"] == len(removed["removed"])
    assert {
        ("states", address),
        ("set aside", f".bad-{'1' * 32}-1"),
        ("failures", f"{address}.json"),
        ("failures", f"{base_of(root)}.json"),
        ("jobs", f"{address}.log"),
        ("verified", f"{'2' * 32}.json"),
        ("verified", "corpora-old-0123456789ab.json"),
        ("runs", "empty"),
    } <= gone(removed)
    assert alive.exists()
    assert (root / "verified" / f"corpora-{corpus}.json").exists()
    assert not list(root.glob(".tmp-1-99-*"))
    assert not any(segment.train for segment in plan_of(texts, root).points[0].path)


def test_of_finished_runs_ends_and_bases_can_be_kept_alone(
    root: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = Store(root).runs()
    ends = {d["address"] for d in documents} | {d["base_address"] for d in documents}
    called(capsys, root, "gc", "--keep-finals", "--older", "0d", "--runs", "nothing*")
    assert len(list(root.glob("states/*"))) > len(ends)
    called(capsys, root, "gc", "--keep-finals", "--older", "0d")
    assert {path.name for path in root.glob("states/*")} == ends
    assert not plan_of(texts, root).to_train, "a run that is done stays done"


def test_an_unfinished_run_keeps_its_deepest_state(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.train.loop import Interrupted

    store = Store(tmp_path / "runs")
    plan = planned(texts, store, RUNS[0])
    write_documents(plan, store)
    with pytest.raises(Interrupted):
        train(plan, store, stop_at=20)
    (point,) = plan.points
    program = point.program
    saves = {p: program.address(p) for p in range(1, 101) if program.address(p) in store.addresses()}
    deepest = max(saves)
    assert saves[deepest] not in {segment.address for segment in point.path}
    shutil.copytree(store.root / "states" / saves[deepest], tmp_path / "earlier")
    meta = files.read_sealed(tmp_path / "earlier" / "state.json")
    earlier = program.address(deepest - 1)  # one that a killed process left
    meta = {k: v for k, v in meta.items() if k not in ("sha256",)} | {"address": earlier, "position": deepest - 1}
    (tmp_path / "earlier" / "state.json").write_bytes(files.seal(meta))
    (tmp_path / "earlier").rename(store.root / "states" / earlier)
    assert gone(called(capsys, store.root, "gc", "--older", "0d")) == {("states", earlier)}
    assert store.state(saves[deepest]) is not None
    assert {name for kind, name in gone(called(capsys, store.root, "rm", "replayed")) if kind == "states"} == set(
        saves.values()
    )


@pytest.mark.parametrize("command", ["gc", "rm"])
def test_who_is_at_work_is_not_disturbed(root: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    end = find_run(Store(root), "infinite")["address"]
    with Store(root).lease(end) or pytest.fail("held"):
        if command == "rm":
            with pytest.raises(InputError, match=r"^run=infinite: .* is at work on it; stop that first"):
                main(["rm", "infinite", f"root={root}"])
            return
        forget(root, "infinite")
        document = called(capsys, root, "gc", "--older", "0d")
        assert not {kind for kind, _ in gone(document)} & set(upkeep.OF_RUNS)
        assert "which no run names" in document["warnings"][0]
    assert ("states", end) in gone(called(capsys, root, "gc", "--older", "0d"))


@pytest.mark.parametrize("content", ["{}", '{"path": 3}', "[", '{"path": [], "program": {}}'])
def test_a_record_that_is_none_keeps_everything(root: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = root.glob("runs/infinite-*/run.json")
    record.write_text(content)
    document = called(capsys, root, "gc", "--older", "0d")
    assert gone(document) == set()
    assert "is not known" in document["warnings"][0]
    assert called(capsys, root, "usage")["runs"]


def test_a_damaged_record_keeps_what_its_run_may_need(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = root.glob("runs/infinite-*/run.json")
    record.write_text(record.read_text()[:-9])
    document = called(capsys, root, "gc", "--older", "0d")
    assert gone(document) == set()
    assert "what this run needs is not known" in document["warnings"][0]
    with pytest.raises(InputError, match="others could need what would go"):
        main(["rm", "replayed", f"root={root}"])


def submit(root: Path, plan: Plan) -> str:
    """What harness.slurm leaves of a submission of all that a plan trains."""
    jobs = [job for job in Jobs(plan).all if job.trains]
    folder = root / "jobs" / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "work-0.json").write_text(json.dumps({"tasks": [plain(job.task) for job in jobs]}))
    submissions.record(folder, [[job.key for job in jobs]], "77")
    return folder.name


@pytest.mark.parametrize("asked", ["queued", "ended", "no squeue"])
def test_what_a_queued_job_needs_stays(
    root: Path, texts: Path, asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = planned(texts, Store(root), "name=queued schedule=infinite_cosine replay=0.5")
    token = submit(root, more)
    trunk = {segment.address for segment in more.points[0].path if segment.stored is not None}
    state = "PENDING" if asked == "queued" else ""
    monkeypatch.setattr(submissions, "_queue", lambda _: {(token, 0): ("77", state)})
    monkeypatch.setattr("shutil.which", lambda name: None if asked == "no squeue" else f"/bin/{name}")
    forget(root, "infinite")
    forget(root, "replayed")
    removed = {name for _, name in gone(called(capsys, root, "gc", "--older", "0d"))}
    if asked == "ended":
        assert trunk <= removed
        assert token in removed
    else:
        assert trunk
        assert not removed & {*trunk, token}
        assert not [name for name in removed if (root / "corpora" / name).exists()]


def test_where_squeue_does_not_answer_nothing_is_told_from_it(
    root: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cluster whose controller is away: to look and to clear up goes on, carefully; to remove by name waits."""
    more = planned(texts, Store(root), "name=queued schedule=infinite_cosine replay=0.5")
    trunk = {segment.address for segment in more.points[0].path if segment.stored is not None}
    submit(root, more)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")

    def silent(_: object) -> None:
        raise InputError("SLURM", "no answer", "squeue says: away", "try again")

    monkeypatch.setattr(submissions, "_queue", silent)
    forget(root, "infinite")
    forget(root, "replayed")
    document = called(capsys, root, "gc", "--older", "0d")
    assert "no squeue answers" in document["warnings"][0]
    assert not {name for _, name in gone(document)} & trunk
    write_documents(more, Store(root))
    with pytest.raises(InputError, match="squeue says: away"):
        main(["rm", "queued", f"root={root}"])


@pytest.mark.parametrize("known", [True, False])
def test_a_job_that_cannot_be_read_stops_gc(
    root: Path, texts: Path, known: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name a run is removed all the same where no queue can be asked: who has none cannot know better."""
    token = submit(root, planned(texts, Store(root), "name=queued schedule=infinite_cosine replay=0.5"))
    (root / "jobs" / token / "work-0.json").write_text('{"units": []}')
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if known else None)
    monkeypatch.setattr(submissions, "_queue", lambda _: {(token, 0): ("77", "PENDING")})
    forget(root, "infinite")
    document = called(capsys, root, "gc", "--older", "0d")
    assert not {kind for kind, _ in gone(document)} & set(upkeep.OF_RUNS)
    assert "what it needs is not known" in document["warnings"][0]
    if known:
        with pytest.raises(InputError, match="what it needs is not known"):
            main(["rm", "replayed", f"root={root}"])
    else:
        assert gone(called(capsys, root, "rm", "replayed"))


def test_a_run_with_a_job_in_the_queue_is_not_removed(
    root: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = planned(texts, Store(root), "name=queued schedule=infinite_cosine replay=0.5")
    write_documents(more, Store(root))
    token = submit(root, more)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(submissions, "_queue", lambda _: {(token, 0): ("77", "RUNNING")})
    with pytest.raises(InputError, match=r"^run=queued: job 0 of 0123456789ab is queued to make it; do=cancel first"):
        main(["rm", "queued", f"root={root}"])
    called(capsys, root, "rm", "replayed")


def recipe_of(texts: Path, tmp_path: Path) -> Recipe:
    """A corpus of listed files that is not built."""
    tokenizer.train(["a text"], 280).save(str(tmp_path / "tokenizer.json"))
    source = FilesSource(local_listing("corpus.x.files", [str(texts / "upstream")]), (Part("all"),))
    return Recipe("x", source, given_tokenizer(tmp_path / "tokenizer.json"), 0.1, CORPUS_CODE)


@pytest.mark.parametrize("which", ["part", "whole"])
@pytest.mark.parametrize("asked", ["queued", "ended"])
def test_a_queued_job_that_makes_a_corpus_keeps_its_parts_and_stops_nothing_else(
    root: Path,
    texts: Path,
    tmp_path: Path,
    which: str,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What it may be made of stays: units, listings, files that were fetched. Once it has ended they go, and so does
    its submission."""
    recipe, token = recipe_of(texts, tmp_path), "0123456789ab"
    (root / "jobs" / token).mkdir(parents=True)
    work = {"recipe": plain(recipe)} if which == "part" else {"needed": plain(Needed(recipe, (), ()))}
    (root / "jobs" / token / "work-0.json").write_text(json.dumps(work))
    submissions.record(root / "jobs" / token, [[f"corpus {recipe.key}"]], "77")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(submissions, "_queue", lambda _: {(token, 0): ("77", "PENDING" if asked == "queued" else "")})
    parts = {(kind, "0" * 32) for kind in ("shards", "fetched", "listings")}
    for kind, name in parts:
        (root / kind).mkdir()
        (root / kind / name).write_text("{}")
    forget(root, "infinite")
    removed = gone(called(capsys, root, "gc", "--older", "0d"))
    assert {kind for kind, _ in removed} >= {"states"}
    own = {*parts, ("jobs", token)}
    assert removed & own == (set() if asked == "queued" else own - {("listings", "0" * 32)})


def test_what_is_about_to_be_recorded_stays_and_a_removal_is_waited_for(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(root, "infinite")
    forget(root, "replayed")
    with recording(root / "leases"):  # as a command holds it whose corpora are built, and whose runs are not recorded
        document = called(capsys, root, "gc", "--older", "0d")
        assert not {kind for kind, _ in gone(document)} & set(upkeep.OF_RUNS)
        assert "makes what runs need that are not recorded yet" in document["warnings"][0]
    entered = threading.Event()

    def record() -> None:
        with recording(root / "leases"):
            entered.set()

    with removal(root / "leases"):
        thread = threading.Thread(target=record)
        thread.start()
        assert not entered.wait(0.5)
    assert entered.wait(10)
    thread.join()
    assert tuple(
        sorted({kind for kind, _ in gone(called(capsys, root, "gc", "--older", "0d"))} & {"corpora", "states"})
    ) == ("corpora", "states")


@pytest.mark.parametrize("kind", ["local", "evaluate"])
def test_a_command_holds_what_it_made_until_its_runs_are_recorded(
    texts: Path, root: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever clears up at the very moment between the two removes nothing of it."""
    seen: list[dict[str, Any]] = []
    held_in_training: list[str] = []

    def record(*arguments: Any) -> None:
        seen.append(called(capsys, root, "gc", "--older", "0d"))
        write_documents(*arguments)

    def session(*arguments: Any) -> Session:
        held_in_training.extend(recorders(root / "leases"))
        return Session(*arguments)

    monkeypatch.setattr("harness.launch.write_documents", record)
    monkeypatch.setattr("harness.launch.Session", session)
    if kind == "evaluate":
        arguments = ["replayed", f"sets=other={texts / 'downstream'}", "windows=3", f"root={root}", "launch=inline"]
        assert evaluate.main(arguments) == 0
    else:
        knobs = command(texts, "name=new base.seed=5").split()
        assert run.main([*knobs, f"root={root}", "launch=inline"]) == 0
    (found,) = seen
    assert not {name for name, _ in gone(found)} & set(upkeep.OF_RUNS)
    assert "not recorded yet" in found["warnings"][0]
    assert held_in_training == []


def test_files_are_listed_anew_where_one_asks_for_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pile, other = "memory://relisted/pile/*.jsonl", "memory://relisted/other/*.jsonl"
    memory = fsspec.filesystem("memory")
    for name in ("pile/0.jsonl", "other/0.jsonl"):
        memory.pipe(f"/relisted/{name}", b"{}")
    for url in (pile, other):
        resolve("corpus.x.files", [url], root)
    memory.pipe("/relisted/pile/1.jsonl", b"{}")
    shown = called(capsys, root, "relist")
    assert [(one["files"], one["count"]) for one in shown["listings"]] == [([other], 1), ([pile], 1)]
    with pytest.raises(InputError, match=r"^URL=memory://nobody/\*: no listing of such files is kept"):
        main(["relist", pile, "memory://nobody/*", f"root={root}"])
    called(capsys, root, "relist", pile, "--dry-run")
    assert kept([pile], [root]) is not None
    assert called(capsys, root, "relist", pile)["forgotten"]
    assert kept([pile], [root]) is None
    assert kept([other], [root]) is not None
    assert len(resolve("corpus.x.files", [pile], root).files) == 2


def test_stores_that_read_this_one_are_asked(
    root: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = Store(tmp_path / "child", [root])
    shutil.copytree(root / "corpora", child.root / "corpora")
    write_documents(planned(texts, child, "name=branch schedule=infinite_cosine replay=0.5"), child)
    base = base_of(root)
    document = called(capsys, root, "rm", "--runs", "*")
    assert f"{child.root} names this store as parent" in document["warnings"][0]
    assert (root / "states" / base).is_dir()
    assert not any(kind == "states" and name == base for kind, name in gone(document))
    shutil.rmtree(child.root)
    document = called(capsys, root, "gc", "--older", "0d")
    assert "cannot be read" in document["warnings"][0]
    assert ("states", base) in gone(document)


def test_shards_stay_as_long_as_a_corpus_is_made_of_them(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Units lie beside the corpora; listings and fetched files serve what is not built yet."""
    needed, other = "a" * 32, "b" * 32
    corpus = min(root.glob("corpora/*"))
    manifest = files.read_sealed(corpus / "manifest.json")
    del manifest["sha256"]
    (corpus / "manifest.json").write_bytes(files.seal({**manifest, "units": [{"key": needed}]}))
    for name in (needed, other):
        (root / "shards" / name).mkdir(parents=True)
        (root / "shards" / name / "0-train.bin").write_bytes(bytes(100))
    (root / "listings").mkdir()
    (root / "listings" / f"{other}.json").write_text(json.dumps({"digest": "of nobody"}))
    (root / "listings" / "used.json").write_text(json.dumps({"digest": needed}))
    (root / "fetched").mkdir()
    (root / "fetched" / other).write_bytes(bytes(100))
    (root / "checkpoints" / "resolved").mkdir(parents=True)
    (root / "checkpoints" / "ccc").mkdir()
    (root / "checkpoints" / "ccc" / "checkpoint.json").write_text('{"content": "of nobody", "files": {}}')
    wanted = {("shards", other), ("listings", f"{other}.json"), ("fetched", other), ("checkpoints", "ccc")}
    assert gone(called(capsys, root, "gc", "--older", "0d", "--dry-run")) == wanted
    writing = root / "shards" / files.temporary_name()
    writing.mkdir()
    document = called(capsys, root, "gc", "--older", "0d", "--dry-run")
    assert gone(document) == {("checkpoints", "ccc")}, "somebody is building"
    writing.rmdir()
    whole = (corpus / "manifest.json").read_bytes()
    flip(corpus / "manifest.json")
    document = called(capsys, root, "gc", "--older", "0d", "--dry-run")
    assert gone(document) == {("checkpoints", "ccc")}, "nobody knows what it is made of"
    (corpus / "manifest.json").write_bytes(whole)
    assert gone(called(capsys, root, "gc", "--older", "0d")) == wanted
    held = {run["run"].partition("-")[0]: run for run in called(capsys, root, "usage")["runs"]}
    assert called(capsys, root, "rm", "replayed")["bytes"] == held["replayed"]["own"]
    (last,) = called(capsys, root, "usage")["runs"]
    document = called(capsys, root, "rm", "--runs", "*")
    assert ("shards", needed) in gone(document)
    assert document["bytes"] == last["bytes"] == last["own"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_every_kind_of_damage_is_found_and_set_aside(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, root, "verify")["damaged"] == []
    address = find_run(Store(root), "infinite")["address"]
    flip(root / "states" / address / "optimizer.safetensors")
    corpus = min(root.glob("corpora/*"))
    flip(next(corpus.glob("shard-*.bin")))
    unit = root / "shards" / ("a" * 32)
    unit.mkdir(parents=True)
    (unit / "0-train.bin").write_bytes(bytes(100))
    (unit / "manifest.json").write_bytes(files.seal({"files": {"0-train.bin": files.sha256(unit / "0-train.bin")}}))
    fetched = root / "checkpoints" / "ccc"
    fetched.mkdir(parents=True)
    (fetched / "model.safetensors").write_bytes(bytes(100))
    about = {"size": 100, "sha256": files.sha256(fetched / "model.safetensors")}
    (fetched / "checkpoint.json").write_text(json.dumps({"content": "c", "files": {"model.safetensors": about}}))
    found = called(capsys, root, "verify", status=1)
    assert {(one["kind"], one["name"]) for one in found["damaged"]} == {("states", address), ("corpora", corpus.name)}
    flip(unit / "0-train.bin")
    flip(fetched / "model.safetensors")
    (record,) = root.glob("runs/replayed-*/run.json")
    record.write_text("{")
    found = called(capsys, root, "verify", status=1)
    kinds = {one["kind"] for one in found["damaged"]}
    assert kinds == {"shards", "checkpoints", "runs"}
    assert not unit.exists()
    assert not (fetched / "model.safetensors").exists()
    assert len([entry for entry in inventory(root) if entry.kind == "set aside"]) == 3


def test_what_was_whole_is_not_read_again_where_once_will_do(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in root.rglob("*"):
        os.utime(path, (1000, 1000))
    monkeypatch.setattr("harness.store.verified.YOUNG_SECONDS", -60.0)
    called(capsys, root, "verify")
    monkeypatch.setattr("harness.core.files.sha256", lambda path: pytest.fail(f"{path} is read"))
    called(capsys, root, "verify", "--once")
    with pytest.raises(pytest.fail.Exception):
        called(capsys, root, "verify")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rm"], "RUN=none: no run is named"),
        (["rm", "infinit"], "run=infinit: only begins the name of infinite-"),
        (["rm", "nobody"], "run=nobody: no such run in this store"),
        (["rm", "--runs", "nobody*"], "--runs=nobody*: no run is called so"),
        (["gc", "--older", "soon"], "--older=soon: not an age; give a number with s, m, h, d or w, such as 30d"),
        (["gc", "--runs", "a*"], "--runs=a*: gc looks at all runs; give --keep-finals"),
        (["gc", "extra"], "argument=extra: "),
        (["tidy"], "tidy"),
    ],
)
def test_what_cannot_be_meant_is_one_line(root: Path, arguments: list[str], message: str) -> None:
    before = sorted(path.name for path in root.rglob("*"))
    with pytest.raises(InputError) as caught:
        main([*arguments, f"root={root}"])
    assert message in str(caught.value)
    assert sorted(path.name for path in root.rglob("*")) == before


def test_where_there_is_no_store_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no store"):
        main(["usage", f"root={tmp_path / 'nowhere'}"])
    assert not (tmp_path / "nowhere").exists()


# --- kills, and others beside it -------------------------------------------------------------------------------------


def killed_after(seconds: float, body: Callable[[], Any]) -> int | None:
    """The exit status of `body` in a process that is killed, if it has not ended by then."""
    process = processes.Process(target=body)
    process.start()
    process.join(seconds)
    if process.is_alive() and process.pid:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode


def slowly(root: Path) -> None:
    """gc, in which every step on the disk takes a while."""
    rename, rmtree, unlink = os.rename, shutil.rmtree, os.unlink

    def after(step: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*arguments: Any, **options: Any) -> Any:
            time.sleep(0.01)
            return step(*arguments, **options)

        return wait

    os.rename, os.unlink = after(rename), after(unlink)
    shutil.rmtree = after(rmtree)  # type: ignore[assignment]
    os._exit(main(["rm", "infinite", f"root={root}"]))


@pytest.fixture
def whole(texts: Path, root: Path, grown: Path) -> Callable[[], None]:
    """Whether the other run is as it was, and no state is in parts."""

    def check() -> None:
        replayed, _ = plan_of(texts, root).points
        assert not any(segment.train for segment in replayed.path)
        store = Store(root)
        assert all(store.verify(address, full=True) for address in store.addresses())
        assert files_of(store, end_of(replayed)) == files_of(Store(grown), end_of(replayed))

    return check


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(10))
def test_a_kill_leaves_a_whole_store(
    root: Path, moment: int, whole: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    status = killed_after(random.Random(moment).uniform(0.02, 0.6), lambda: slowly(root))
    assert status in (0, -signal.SIGKILL)
    whole()
    if list(root.glob("runs/infinite-*")):
        called(capsys, root, "rm", "infinite")
    called(capsys, root, "gc", "--older", "0d")
    whole()
    needed = {state["address"] for state in find_run(Store(root), "replayed")["path"]}
    assert {path.name for path in root.glob("states/*")} == needed, "what was begun is brought to its end"
    assert not list(root.rglob(".tmp-*"))


@pytest.mark.slow
def test_two_at_once_free_it_once(root: Path, whole: Callable[[], None]) -> None:
    forget(root, "infinite")
    both = [processes.Process(target=lambda: os._exit(main(["gc", "--older", "0d", f"root={root}"]))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0]
    whole()
    needed = {state["address"] for state in find_run(Store(root), "replayed")["path"]}
    assert {path.name for path in root.glob("states/*")} == needed


@pytest.mark.slow
def test_beside_a_sweep_nothing_is_taken_from_it(texts: Path, grown: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    sweep = processes.Process(target=lambda: os._exit(len(launched(texts, root, list(RUNS), save_every=0.05).failures)))
    sweep.start()
    calls = 0
    while sweep.is_alive():
        if (root / "store.json").exists():
            main(["gc", "--older", "0d", f"root={root}"])
            calls += 1
        time.sleep(0.02)
    assert sweep.exitcode == 0
    assert calls > 3
    for point in plan_of(texts, root).points:
        assert not any(segment.train for segment in point.path)
        assert files_of(Store(root), end_of(point)) == files_of(Store(grown), end_of(point))


def test_a_lease_of_nobody_known_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lease = acquire(root / "leases", "submission")
    assert lease is not None
    with lease:
        document = called(capsys, root, "usage")
    assert "is at work on submission" in document["warnings"][0]
