"""A tiny world for training tests: two local corpora, a model of some thousand parameters, a store in a folder."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from harness.ingest.build import build
from harness.plan.over_store import plan_over
from harness.plan.plan import Plan, PlannedRun
from harness.plan.task import task_of
from harness.store.store import Store
from harness.train.loop import Trainer
from harness.train.states import States
from tests.composed import points_of

KNOBS = (
    "shift=local model.layers=1 model.hidden=16 model.heads=2 model.vocab_size=300 model.seq_len=16 "
    "batch.sequences=4 batch.seq_len=16 scale.tokens=2560 scale.horizon=2560 base.tokens=3840 base.peak=0.01 "
    "warmup=0.1 base.warmup=0.1 evaluate.windows=4 evaluate.early=[0.1x] evaluate.every=0.25x "
    "evaluate.base_every=0.5x evaluate.final_windows=null launch=inline"
)  # 40 steps of 64 tokens downstream, after 60 steps upstream


def write_texts(folder: Path) -> None:
    """Upstream: sentences of made-up words. Downstream: assignments. Enough for several hundred windows."""
    generator = random.Random(0)
    words = ["".join(generator.choice("aeioubdfglmnprst") for _ in range(generator.randint(2, 7))) for _ in range(80)]
    for name in ("upstream", "downstream"):
        (folder / name).mkdir(parents=True)
        for part in range(60):
            lines = []
            for _ in range(12):
                chosen = [generator.choice(words) for _ in range(9)]
                if name == "upstream":
                    lines.append(" ".join(chosen).capitalize() + ".")
                else:
                    lines.append(f"{chosen[0]}_{chosen[1]} = {chosen[2]}({generator.randint(0, 99)}, {chosen[3]})")
            (folder / name / f"{part:03}.txt").write_text("\n".join(lines))


def command(texts: Path, more: str = "") -> str:
    return f"{KNOBS} upstream={texts}/upstream downstream={texts}/downstream {more}"


def planned(texts: Path, store: Store, *more: str) -> Plan:
    """The plan of several runs over a store whose corpora are built."""
    points = points_of(*(command(texts, knobs) for knobs in more))
    build([r for point in points for r in point.run.recipes.values()], store.root, progress=False)
    return plan_over(points, store)


def train(plan: Plan, store: Store, trainer: Trainer | None = None, *, stop_at: int | None = None) -> Trainer:
    """Carry out a plan in this process; `stop_at`: be interrupted after so many steps of the first segment."""
    trainer = trainer or Trainer(States(store, torch.device("cpu")))
    recipes = {key: recipe for segment in plan.segments for key, recipe in segment.recipes.items()}
    polls = [0]

    def should_stop() -> bool:
        polls[0] += 1
        return stop_at is not None and polls[0] > stop_at

    for segment in plan.to_train:
        trainer.advance(task_of(plan, segment, recipes), lambda _: None, should_stop)
    return trainer


def files_of(store: Store, address: str) -> dict[str, bytes]:
    """What must be byte-identical however a state came about."""
    folder = store.root / "states" / address
    names = ("weights.safetensors", "optimizer.safetensors", "evaluations.csv", "steps.jsonl")
    return {name: (folder / name).read_bytes() for name in names}


def end_of(point: PlannedRun) -> str:
    return point.program.address()
