"""Corpora built by jobs of a real SLURM are those built here, byte for byte; what the data tell, a plan shows."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.__main__ import main
from harness.config import corpora
from harness.corpora import tokenizer
from tests.hub_server import Hub
from tests.ingest.test_listed_files import SETS, content, records, write
from tests.megatron_files import write_pair
from tests.slurm.cluster import queue, slurm, submissions, until

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.usefixtures("box")]

KNOBS = (
    "shift=one_to_other model.layers=1 model.hidden=16 model.heads=2 model.vocab_size=300 model.seq_len=16 "
    "batch.sequences=4 batch.seq_len=16 scale.tokens=1280 scale.horizon=1280 base.tokens=1280 base.peak=0.01 "
    "warmup=0.1 base.warmup=0.1 evaluate.windows=4 evaluate.early=[] evaluate.every=1x evaluate.base_every=1x"
)
JOBS = ("launch=slurm", "launch.gpus_per_node=0", "launch.cpus=1", "launch.ingest.build=jobs", "launch.ingest.cpus=2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.json").write_text(tokenizer.train([row["text"] for row in records(60)], 300).to_str())
    (tmp_path / "conf" / "corpus").mkdir(parents=True)
    for start, (name, weights) in enumerate({"one": (None,) * 3, "other": (50, 30, 20)}.items()):
        write(tmp_path / name, {f"{k}.jsonl": records(300, seed=100 * start + k) for k in range(3)})
        parts = {
            each: {"where": {"meta.set": [each]}, **({"weight": weight} if weight else {})}
            for each, weight in zip(SETS, weights, strict=True)
        }
        config = {"kind": "files", "files": f"{tmp_path}/{name}/*.jsonl", "validation": 0.1, "format": None}
        config |= {"text": "text", "parts": parts, "tokens": None, "unit_bytes": 40_000}
        config |= {"tokenizer": str(tmp_path / "tokenizer.json")}
        (tmp_path / "conf" / "corpus" / f"{name}.yaml").write_text(json.dumps(config))
    return tmp_path


def own_validation(data: Path) -> None:
    """The upstream has files of its own to validate on."""
    write(data / "held", {"held.jsonl": records(200, seed=77)})
    place = data / "conf" / "corpus" / "one.yaml"
    place.write_text(json.dumps({**json.loads(place.read_text()), "validation": f"{data}/held/*.jsonl"}))


def harness(data: Path, root: str, more: Sequence[str]) -> SimpleNamespace:
    """Status and words of the command, in this process: to start one takes seconds."""
    command = ["-cd", str(data / "conf"), *KNOBS.split(), f"root={data / root}", *more]
    corpora._local.cache_clear()  # files are listed as a new process does
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(command)
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def plan(data: Path, root: str, more: Sequence[str] = ()) -> dict[str, Any]:
    done = harness(data, root, [*JOBS, *more, "do=plan", "json=true"])
    assert done.returncode == 0, done.stderr
    (point,) = json.loads(done.stdout)["points"]
    found: dict[str, Any] = point
    return found


def test_jobs_build_what_is_built_here_and_training_waits_for_them(data: Path) -> None:
    here = harness(data, "here", ["launch=inline"])
    assert here.returncode == 0, here.stderr
    submitted = harness(data, "jobs", JOBS)
    assert submitted.returncode == 0, submitted.stderr
    assert "parts of corpus other" in submitted.stderr
    assert "corpus one, assembled after" in submitted.stderr
    again = harness(data, "jobs", JOBS)
    assert "parts of corpus" not in again.stderr
    until(lambda: not queue())
    assert plan(data, "jobs")["status"] == "done"
    for part in ("corpora", "shards", "states"):
        if part != "states":
            assert content(data / "jobs" / part) == content(data / "here" / part)
        assert sorted(p.name for p in (data / "jobs" / part).iterdir()) == sorted(
            p.name for p in (data / "here" / part).iterdir()
        )
    known = submissions(data / "jobs")
    assert "queued" not in harness(data, "jobs", JOBS).stderr
    assert submissions(data / "jobs") == known


def test_what_the_data_tell_is_shown_by_the_plan_and_holds_training_up(data: Path) -> None:
    rows = (data / "other" / "2.jsonl").read_text().splitlines()
    whole = "\n".join(rows)
    del (broken := json.loads(rows[6]))["text"]
    (data / "other" / "2.jsonl").write_text("\n".join([*rows[:6], json.dumps(broken), *rows[7:]]))
    assert harness(data, "jobs", JOBS).returncode == 0
    until(lambda: not queue())
    point = plan(data, "jobs")
    assert point["status"] == "blocked"
    assert "line 7" in point["failure"]["reason"]
    assert "2.jsonl" in point["failure"]["reason"]
    assert not list((data / "jobs").glob("states/*"))
    (data / "other" / "2.jsonl").write_text(whole)
    assert harness(data, "jobs", JOBS).returncode == 0
    until(lambda: not queue())
    assert plan(data, "jobs")["status"] == "done"


def test_jobs_build_the_validation_of_what_is_only_measured_and_the_rest_when_a_run_trains_on_it(data: Path) -> None:
    own_validation(data)
    measured, replayed = ["start=scratch", "replay=0"], ["start=scratch", "replay=0.25"]
    texts = (data / "one").rename(data / "away")
    (data / "one").mkdir()
    for file in texts.iterdir():  # listed, and not what they are: whoever opens one is refused
        (data / "one" / file.name).write_text("not a record")
    assert harness(data, "jobs", [*JOBS, *measured]).returncode == 0
    until(lambda: not queue())
    assert plan(data, "jobs", measured)["status"] == "done"
    assert plan(data, "jobs", replayed)["status"] == "to train"

    failing = harness(data, "jobs", [*JOBS, *replayed])
    assert "parts of corpus one" in failing.stderr
    until(lambda: not queue())
    assert plan(data, "jobs", replayed)["status"] == "blocked"
    assert plan(data, "jobs", measured)["status"] == "done"
    shutil.rmtree(data / "one")
    texts.rename(data / "one")

    for root in ("grown", "both"):  # one after the other, and the second while the first is queued
        assert harness(data, root, [*JOBS, *measured]).returncode == 0
        if root == "grown":
            until(lambda: not queue())
        submitted = harness(data, root, [*JOBS, *replayed])
        assert "parts of corpus one" in submitted.stderr
        again = harness(data, root, [*JOBS, *replayed])
        assert "parts of corpus" not in again.stderr
        until(lambda: not queue())
        assert [plan(data, root, each)["status"] for each in (measured, replayed)] == ["done"] * 2
    assert harness(data, "here", ["launch=inline", *replayed]).returncode == 0
    for part in ("corpora", "shards"):
        assert content(data / "grown" / part) == content(data / "both" / part) == content(data / "here" / part)


def test_the_units_that_parts_of_a_corpus_have_in_common_are_built_by_the_jobs_of_one(data: Path) -> None:
    stages = "stages=[{mixture: {other.web: 1}, tokens: 0.5x}, {mixture: {other.books: 1}, tokens: 0.5x}]"
    submitted = harness(data, "jobs", [*JOBS, stages])
    assert submitted.returncode == 0, submitted.stderr
    assert submitted.stderr.count("parts of corpus") == 2  # one, and other, which is measured whole
    assert submitted.stderr.count(", assembled after") == 4  # those, and two of its parts
    until(lambda: not queue())
    assert plan(data, "jobs", [stages])["status"] == "done"
    assert harness(data, "here", ["launch=inline", stages]).returncode == 0
    for part in ("corpora", "shards"):
        assert content(data / "jobs" / part) == content(data / "here" / part)


# --- killed, lost, taken back -----------------------------------------------------------------------------------------


@pytest.fixture
def large(data: Path) -> Path:
    """Its first corpus is one file of many units: some seconds of work, of which the first is done soon."""
    for path in (data / "one").iterdir():
        path.unlink()
    write(data / "one", {"large.jsonl": records(60_000, seed=7)})
    config = json.loads((data / "conf" / "corpus" / "one.yaml").read_text())
    (data / "conf" / "corpus" / "one.yaml").write_text(json.dumps({**config, "unit_bytes": 1_000_000}))
    return data


def units(root: Path) -> int:
    """Finished ones of the large file."""
    paths = root.glob("shards/[!.]*/manifest.json")
    return sum(json.loads(path.read_text())["names"] == ["large.jsonl"] for path in paths)


def builders(root: Path) -> dict[int, str]:
    """The main processes of jobs that build, and the nodes that they are on."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0") if folder.name.isdigit() else []
            inside = dict(v.split("=", 1) for v in (folder / "environ").read_text().split("\0") if "=" in v)
        except (OSError, UnicodeDecodeError):
            continue
        if (
            "submitit.core._submit" in words
            and any(word.startswith(str(root)) for word in words)
            and "srun" not in words[0]
        ):
            found[int(folder.name)] = inside.get("SLURMD_NODENAME", "")
    return found


def begun(root: Path) -> dict[int, str]:
    """Wait until the large file is under way; who is at work then."""
    until(lambda: units(root) > 0)
    return builders(root)


def whole(data: Path) -> bool:
    """Do both stores hold the same corpora, of the same units?"""
    here = harness(data, "here", ["launch=inline"])
    assert here.returncode == 0, here.stderr
    return all(content(data / "jobs" / part) == content(data / "here" / part) for part in ("corpora", "shards"))


@pytest.mark.parametrize("retries", [0, 1])
def test_a_killed_job_is_told_or_tried_again_and_goes_on(large: Path, retries: int) -> None:
    root = large / "jobs"
    assert harness(large, "jobs", [*JOBS, f"launch.retries={retries}"]).returncode == 0
    for pid in begun(root):
        os.kill(pid, signal.SIGKILL)
    built = units(root)
    times = {path: path.stat().st_mtime_ns for path in root.glob("shards/[!.]*/manifest.json")}
    assert 0 < built < 15
    until(lambda: not queue())
    if not retries:
        point = plan(large, "jobs")
        assert point["status"] == "blocked"
        assert "is gone without a word" in point["failure"]["reason"]
        assert "Killed" in "\n".join(point["failure"]["log_tail"])
        assert harness(large, "jobs", JOBS).returncode == 0
        until(lambda: not queue())
    assert plan(large, "jobs")["status"] == "done"
    assert {path: path.stat().st_mtime_ns for path in times} == times, "what was built is not built again"
    assert whole(large)


def test_a_node_that_goes_down_costs_what_was_under_way_on_it(large: Path) -> None:
    root = large / "jobs"
    assert harness(large, "jobs", JOBS).returncode == 0
    (node, *_) = {*begun(root).values()}
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    until(lambda: not queue(), 240)
    until(lambda: slurm("sinfo", "--noheader", f"--nodes={node}", "--format=%t", "--partition=main") == "idle")
    assert plan(large, "jobs")["status"] == "done"
    assert whole(large)


def test_what_makes_corpora_is_shown_and_taken_back_unless_others_wait_for_it(data: Path) -> None:
    slurm("scontrol", "update", "partitionname=main", "state=down")  # they stay where they are
    try:
        assert harness(data, "jobs", JOBS).returncode == 0
        number = len(queue())
        shown = {each["corpus"]: each for each in plan(data, "jobs")["corpora"]}
        assert shown["one"]["parts_queued"] > 0
        assert shown["one"]["parts_running"] == 0
        said = harness(data, "jobs", [*JOBS, "do=plan"]).stdout
        assert f"after corpus other, job {shown['other']['job']} (0 parts running" in said
        more = harness(data, "jobs", [*JOBS, "seed=1"])
        assert more.returncode == 0
        assert "parts of corpus" not in more.stderr
        assert len(queue()) > number
        assert harness(data, "jobs", [*JOBS, "do=cancel"]).returncode == 0
        until(lambda: plan(data, "jobs")["status"] != "queued")
        assert {each["corpus"] for each in plan(data, "jobs", ["seed=1"])["corpora"]} == {"one", "other"}
        assert harness(data, "jobs", [*JOBS, "seed=1", "do=cancel"]).returncode == 0
        until(lambda: not queue())
        assert plan(data, "jobs")["status"] == "to train"
    finally:
        slurm("scontrol", "update", "partitionname=main", "state=up")
    assert harness(data, "jobs", JOBS).returncode == 0
    until(lambda: not queue())
    assert plan(data, "jobs")["status"] == "done"


def test_a_larger_budget_on_parts_that_are_queued_says_what_to_do(data: Path) -> None:
    told = "builds for a smaller budget: if they turn out too few, the same command, given again, goes on"
    slurm("scontrol", "update", "partitionname=main", "state=down")
    try:
        for root, budgets in (("jobs", (500, 3000)), ("others", (3000, 500))):
            small, large = (harness(data, root, [*JOBS, f"corpus.other.tokens={tokens}"]) for tokens in budgets)
            assert (small.returncode, large.returncode) == (0, 0)
            assert told not in small.stderr
            assert (told in large.stderr) == (budgets[0] < budgets[1])
    finally:
        slurm("scancel", "--user=root")
        until(lambda: not queue())
        slurm("scontrol", "update", "partitionname=main", "state=up")


# --- nodes without a network ------------------------------------------------------------------------------------------


def test_a_budget_that_falls_short_is_told_by_its_job_and_fetched_by_the_next_command(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rarest part the estimate knows nothing. No job asks the server, whatever it lacks."""
    rare = [row for row in records(6000, seed=9) if row["meta"]["set"] != "code" or row["text"].endswith("1")]
    write(data / "hub", {f"{k:02}.jsonl": rare[k::30] for k in range(30)})
    with Hub() as hub:
        hub.use(monkeypatch, data)
        hub.commit("some/texts", data / "hub", kind="dataset")
        path = data / "conf" / "corpus" / "other.yaml"
        config = {**json.loads(path.read_text()), "files": "hf://datasets/some/texts/*.jsonl", "tokens": 4000}
        config["parts"] = {
            name: {**part, "weight": w} for (name, part), w in zip(config["parts"].items(), (25, 25, 50), strict=True)
        }
        path.write_text(json.dumps({**config, "unit_bytes": 4_000}))
        said = harness(data, "jobs", JOBS)
        assert said.returncode == 0, said.stderr
        asked = hub.count()
        until(lambda: not queue())
        point = plan(data, "jobs")
        assert point["status"] == "blocked"
        told = "corpus.other.tokens=4000: what was fetched holds"
        assert point["failure"]["reason"].startswith(told)
        assert point["failure"]["reason"].endswith(
            "(too few of code); run the command again: it fetches what is missing"
        )
        assert hub.count() == asked
        for _ in range(3):
            assert harness(data, "jobs", JOBS).returncode == 0
            asked = hub.count()
            until(lambda: not queue())
            assert hub.count() == asked
            if (status := plan(data, "jobs")["status"]) == "done":
                break
        assert status == "done"


@pytest.mark.parametrize("fetch", ["here", "jobs"])
def test_sequences_that_another_program_drew_are_fetched_where_the_setting_says(
    data: Path, fetch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(data / "drawn" / "document", np.random.default_rng(0).integers(0, 300, (400, 17)))
    with Hub() as hub:
        hub.use(monkeypatch, data)
        hub.commit("some/drawn", data / "drawn", kind="dataset")
        config = {"kind": "megatron", "files": "hf://datasets/some/drawn/document*", "validation": 0.1, "text": "text"}
        config |= {"tokenizer": str(data / "tokenizer.json"), "sequence": 17}
        (data / "conf" / "corpus" / "one.yaml").write_text(json.dumps(config))
        said = harness(data, "jobs", [*JOBS, f"launch.ingest.fetch={fetch}", "do=run"])
        assert said.returncode == 0, said.stderr
        asked = hub.count("document.bin")
        until(lambda: not queue())
        assert plan(data, "jobs")["status"] == "done"
        assert (hub.count("document.bin") > asked) == (fetch == "jobs")
