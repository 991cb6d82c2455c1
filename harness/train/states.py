"""Which state training starts from, and the states it leaves: tensors between memory and the store.

A `Task` (`harness.plan.task`) says what is asked for, a `State` is what is in memory, `States` moves between it and the
store. Of several ranks, 0 looks into the store, decides and writes; each loads, and holds its part.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from harness.core.errors import InputError
from harness.core.identity import canonical
from harness.corpora.corpus import Corpus, open_corpus
from harness.model.build import build_scratch, load_checkpoint, parameter_groups
from harness.model.distributed import Ranks
from harness.model.tensors import holds_optimizer, load_model, load_optimizer, save_model, save_optimizer
from harness.plan.task import Task
from harness.program.program import NUMERICS, Phase, Program, Scratch
from harness.store.history import Row, rows_to_csv
from harness.store.store import WINDOWS, Store
from harness.store.windows import WindowHistory, to_npz
from harness.texts.recipe import Recipe


@dataclass
class State:
    """Weights, optimizer, and everything measured since the root."""

    address: str
    """Of the program's prefix that made it."""
    position: int
    """Optimizer steps since the root."""
    model: PreTrainedModel
    """The weights, fp32."""
    module: torch.nn.Module
    """The model as training calls it: wrapped, if there are several ranks."""
    optimizer: torch.optim.AdamW
    """AdamW with its moments."""
    rows: list[Row]
    """Every measurement since the root."""
    windows: WindowHistory
    """The losses of single windows that are kept of them."""
    steps: list[str]
    """Lines of steps.jsonl: loss, learning rate and norm of every step."""
    timing: list[str]
    """Lines of timing.jsonl; kept apart, for times differ between equal runs."""


@dataclass
class States:
    """The states of one store as one device needs them."""

    store: Store
    device: torch.device
    keep: str = "all"  # weights: the ends of runs are stored without their optimizer
    ranks: Ranks = field(default_factory=Ranks)
    _corpora: dict[str, Corpus] = field(default_factory=dict)
    _hot: State | None = None  # the state made last: its continuation need not load it

    def corpus(self, recipe: Recipe, *, whole: bool = True) -> Corpus:
        """The opened corpus of a recipe; not `whole`: to be measured, its validation will do."""
        corpus = self._corpora.get(recipe.key)
        if corpus is None or (whole and not corpus.whole):
            corpus = self._corpora[recipe.key] = open_corpus(self.store.root, recipe, whole=whole)
        return corpus

    def deepest(self, task: Task) -> State:
        """The deepest state on the way that is whole and covers the rows asked for since the segment's start."""
        hot = self._hot
        if hot is not None and task.start and hot.address == task.program.address(task.start):
            self._hot = None  # its tensors go on changing
            if not self.ranks.first(lambda: self._stored_inside(task)):
                return hot
        position = self.ranks.first(lambda: self._deepest_stored(task))
        return self._loaded(task, position, to_train=True) if position else self.root(task)

    def _deepest_stored(self, task: Task) -> int:
        """Its position; 0 if none is stored."""
        for position in self._stored_positions(task.program, task.stop):
            held = {row.key for row in self.store.rows(task.program.address(position))}
            # Rows of the position itself can still be measured: that is how an interrupted evaluation goes on.
            covered = all(key in held for key in task.rows if task.start < key[0] < position)
            if covered and self._is_whole(task, position, to_train=True):
                return position
        return 0

    def keep_hot(self, state: State, address: str) -> None:
        """Remember the state just made; whoever continues it next need not load it."""
        state.address, self._hot = address, state

    def _stored_positions(self, program: Program, last: int, first: int = 0) -> list[int]:
        stored = self.store.addresses()
        return [p for p in range(last, first, -1) if program.address(p) in stored] if stored else []

    def _stored_inside(self, task: Task) -> bool:
        return bool(self._stored_positions(task.program, task.stop, task.start))

    def load(self, task: Task, position: int, *, to_train: bool = True) -> State | None:
        """The stored state at `position`, verified; None if there is none or it is damaged (then it is set aside).

        To be trained on, it must hold its optimizer; to be measured, weights will do.
        """
        whole = self.ranks.first(lambda: self._is_whole(task, position, to_train))
        return self._loaded(task, position, to_train) if whole else None

    def _is_whole(self, task: Task, position: int, to_train: bool) -> bool:
        address = task.program.address(position)
        if not self.store.verify(address):
            return False
        info = self.store.state(address)
        if info is None or (to_train and not holds_optimizer(info.meta["files"])):
            return False
        for name, stored in info.meta["corpora"].items():
            key = stored.get("key", name)  # states of before have the corpus's name there
            recipe = task.recipes.get(key)
            if recipe is not None and self.corpus(recipe).content != stored["content"]:
                why = f"the stored state was trained on other tokens of the same recipe {key[:12]}"
                raise InputError("root", self.store.root, f"{recipe.name}: {why}", "use another root")
        return True

    def _loaded(self, task: Task, position: int, to_train: bool) -> State:
        program = task.program
        address = program.address(position)
        info = self.store.state(address)
        assert info is not None, "what rank 0 has verified is there for all"
        model = self._model(task)
        load_model(info.folder, model)
        optimizer = build_optimizer(model, program.phases[program.phase_at(position - 1)[0]])
        if to_train:
            load_optimizer(info.folder, optimizer, model)
        lines = [(info.folder / name).read_text().splitlines() for name in ("steps.jsonl", "timing.jsonl")]
        rows = self.ranks.first(lambda: self.store.rows(address))
        windows = self.store.windows(address) if self.ranks.leads else {}  # who writes carries them along
        return State(address, position, model, self.ranks.replicated(model), optimizer, rows, windows, *lines)

    def root(self, task: Task) -> State:
        model = self._model(task)
        optimizer = build_optimizer(model, task.program.phases[0])
        return State(task.program.address(0), 0, model, self.ranks.replicated(model), optimizer, [], {}, [], [])

    def _model(self, task: Task) -> PreTrainedModel:
        """The model at the root of the task's program: made whole on the CPU, so that its bits depend on no rank."""
        root = task.program.root
        if isinstance(root, Scratch):
            model = build_scratch(root.shape, root.seed)
        else:
            assert task.path is not None
            model = load_checkpoint(task.path)
        model.train()
        return self.ranks.placed(model, self.device)

    def save(self, task: Task, state: State, previous: int, *, measured: bool = True) -> None:
        """Store the state where it stands; a save on the way replaces this segment's earlier one.

        `measured`: it holds the rows of its own position. One that does not is a save on the way, wherever it lies.
        """
        program, position = task.program, state.position
        kept = measured and (position == task.stop or position in task.stops)
        with_optimizer = self.keep == "all" or not task.final or position != task.stop or not measured

        def tensors(folder: Path | None) -> None:
            save_model(folder, state.model)
            if with_optimizer:
                save_optimizer(folder, state.optimizer, state.model)

        def write(folder: Path) -> None:
            tensors(folder)
            (folder / "evaluations.csv").write_text(rows_to_csv(state.rows))
            if state.windows:
                (folder / WINDOWS).write_bytes(to_npz(state.windows))
            (folder / "steps.jsonl").write_text("".join(line + "\n" for line in state.steps))
            (folder / "timing.jsonl").write_text("".join(line + "\n" for line in state.timing))

        if not self.ranks.leads:
            if self.ranks.sharding == "fsdp":
                tensors(None)
            return
        meta = self._meta(program, position, kept)
        self.store.write_state(program.address(position), write, meta if measured else {**meta, "measured": False})
        if position == task.stop and kept:
            self._prune(self._stored_positions(program, position - 1, max(task.stops, default=0)), task)
        elif previous and previous not in task.stops:
            self._prune([previous], task)

    def _prune(self, positions: list[int], task: Task) -> None:
        """Remove saves on the way: a deeper one is stored. Those a killed process left are among them."""
        for address in (task.program.address(position) for position in positions):
            info = self.store.state(address)
            if info is not None and not info.kept and not info.readonly:
                self.store.remove(address)

    def _meta(self, program: Program, position: int, kept: bool) -> dict[str, Any]:
        """state.json. Corpora go by their recipes' keys: their names are those that some run gave them."""
        drawn, seq_len = program.drawn(position), program.phases[0].seq_len
        corpora = {key: self._corpora[key] for key in drawn}
        branch, branch_steps = program.branch_at(position)
        return {
            "line": branch,
            "line_steps": branch_steps,
            "program": canonical(program.prefix(position)),
            "position": position,
            "tokens": program.tokens(position),
            "drawn": {
                key: {"sequences": drawn[key], "epochs": corpus.train.epochs(drawn[key], seq_len)}
                for key, corpus in corpora.items()
            },
            "corpora": {key: {"content": corpus.content} for key, corpus in corpora.items()},
            "numerics": NUMERICS,
            "versions": _versions(),
            "device": _device_name(self.device),
            "threads": torch.get_num_threads(),
            "ranks": self.ranks.count,
            "kept": kept,
        }


def build_optimizer(model: PreTrainedModel, phase: Phase) -> torch.optim.AdamW:
    adam = phase.optimizer
    groups = parameter_groups(model, adam.weight_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=(adam.beta1, adam.beta2), eps=adam.eps, fused=True)


@cache
def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "safetensors", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
