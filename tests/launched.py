"""Launches for tests, in this process or in one that can be killed (forked off a server that has torch imported)."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from harness.config.launching import Launch, read_launch
from harness.core.shipped import CONF
from harness.launch import launch
from harness.plan.jobs import Outcome
from harness.plan.over_store import plan_over
from harness.store.store import Store
from tests.composed import points_of
from tests.tiny import command

OFF = {"kind": "off"}
STATE_FILES = ("weights.safetensors", "optimizer.safetensors", "evaluations.csv", "steps.jsonl")


def settings(kind: str, **more: Any) -> Launch:
    """The launch settings of a kind, some of them given."""
    return read_launch({"launch": _given(kind, **more)})


def _given(kind: str, **more: Any) -> dict[str, Any]:
    if kind == "slurm":
        chosen = OmegaConf.to_container(OmegaConf.load(CONF / "launch" / "slurm.yaml"))
        assert isinstance(chosen, dict)
        return {**chosen, "gpus_per_node": 0, "cpus": 1, "save_every": 1, **more}
    return {
        "kind": kind,
        "workers": 2,
        "save_every": 60,
        "micro_batch": None,
        "keep": "all",
        "verify": True,
        "ranks": None,
        "sharding": "none",
        "per_gpu": 1,
        **more,
    }


def launched(texts: Path, root: Path, runs: Sequence[str], kind: str = "inline", **more: Any) -> Outcome:
    """Plan and launch the runs given by their knobs, as the command line would."""
    store = Store(root)
    plan = plan_over(points_of(*(command(texts, knobs) for knobs in runs)), store)
    return launch(plan, settings(kind, **more), store, tracker=OFF, progress=False)


def in_process(texts: Path, root: Path, runs: Sequence[str], **how: Any) -> ForkServerProcess:
    """The same in a process of its own, started. Its exit status: 130 interrupted, 1 failures, else 0.

    `die`: (what, n) = SIGKILL at the n-th save, evaluation or step. `largest_file`: bytes, as on a full disk. Tokens
    trained are written to the file `report`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.train.loop", "tests.launched"])
    process = context.Process(target=_child, args=(texts, root, list(runs), how, dict(os.environ)))
    process.start()
    return process


def _child(texts: Path, root: Path, runs: list[str], how: dict[str, Any], environment: dict[str, str]) -> None:
    os.environ.clear()  # the server may have been started before the cluster of a test
    os.environ.update(environment)
    report, largest_file, die = (how.pop(name, None) for name in ("report", "largest_file", "die"))
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if die is not None:
        _arrange_death(*die)
    outcome = launched(texts, root, runs, **how)
    if report is not None:
        Path(report).write_text(str(outcome.trained))
    sys.exit(130 if outcome.interrupted else 1 if outcome.failures else 0)


def _arrange_death(what: str, at: int) -> None:
    from harness.corpora.batches import Batches
    from harness.train import loop as train
    from harness.train import states

    owner, name = {
        "save": (states, "save_optimizer"),  # the weights are written by then, the state is not complete
        "evaluation": (train, "measure_loss"),
        "step": (Batches, "at"),
    }[what]
    original, left = getattr(owner, name), [at]

    def deadly(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, deadly)


def kept_files(root: Path) -> dict[str, bytes]:
    """Every file of every kept state that must be byte-identical however it came about."""
    store = Store(root)
    found = {}
    for address in sorted(store.addresses()):
        info = store.state(address)
        assert info is not None
        if info.kept:
            found.update({f"{address}/{name}": (info.folder / name).read_bytes() for name in STATE_FILES})
    return found


def leavings(root: Path) -> list[str]:
    """What should not be there when all is done: temporary names, leases, saves on the way."""
    store = Store(root)
    names = [path.name for path in (root / "states").iterdir()] + [p.name for p in (root / "leases").glob("*.json")]
    infos = [(name, store.state(name)) for name in names if not name.startswith(".") and len(name) == 32]
    unkept = [name for name, info in infos if info is not None and not info.kept]
    return [name for name in names if name.startswith(".") or name.endswith(".json")] + unkept
