"""Train one segment of a program: from the deepest stored state on the way to the position asked for.

One straight loop. `Trainer` is what a worker keeps between segments (opened corpora, validation windows, the state it
made last); `advance` trains and stores, `measure_stored` measures without training. What is trained is a function of
(program, position) alone; how it is done (micro-batches, saves on the way, interruptions) leaves no trace.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from harness.corpora.batches import Batches
from harness.measure.losses import Windows, measure_loss
from harness.measure.request import RowKey
from harness.model.build import loss_of
from harness.model.distributed import accumulating, whole
from harness.plan.task import Task
from harness.program.program import Phase, Program
from harness.store.history import Row, merge
from harness.store.windows import WindowHistory, merged
from harness.train.events import Event, Measured, Progress, Started
from harness.train.states import State, States

Report = Callable[[Event], None]
FLUSH_STEPS = 16  # losses are read off the device this often; a loss that is not finite is seen before any save


class Interrupted(Exception):  # noqa: N818  not an error: somebody asked
    """Asked to stop: the state of the last step boundary is stored."""


class NonFiniteError(RuntimeError):
    """The loss or gradient norm at a position was not finite; nothing after the last good state was stored."""

    def __init__(self, position: int, last_good: int, what: str) -> None:
        self.position, self.last_good = position, last_good
        super().__init__(f"{what} at step {position} is not finite; the last good state is at step {last_good}")


@dataclass
class Trainer:
    """A worker's caches. One process, one device, one store; of several ranks each has its own."""

    states: States
    micro_batch: int | None = None
    save_every: float = 60.0  # seconds
    _windows: dict[str, Windows] = field(default_factory=dict)

    def advance(self, task: Task, report: Report, should_stop: Callable[[], bool]) -> None:
        """Train `task` and store the state at its end. Raises Interrupted, NonFiniteError, InputError, OSError.

        Every rank calls it, with the same task. Of its errors, the first two come on all of them at the same step.
        """
        program, ranks = task.program, self.states.ranks
        entered = time.monotonic()
        corpora = {key: self.states.corpus(task.recipes[key]) for key in program.corpora}
        state = self.states.deepest(task)
        batches = Batches(program, corpora, ranks)
        model, optimizer = state.model, state.optimizer
        parameters = [p for p in model.parameters() if p.requires_grad]
        pending = _pending(task.rows, state)
        losses: list[tuple[int, float, torch.Tensor, torch.Tensor]] = []
        saved = began = time.monotonic()
        _time(state, state.position, entered, program)  # what it took to open corpora and load the state
        began_at, saved_at = state.position, state.position
        phase_index = -1
        report(Started(state.position))
        for position in range(state.position, task.stop + 1):
            state.position = position
            measured = True
            if position in pending:  # before the state is stored: what is kept holds its rows
                self._flush(losses, state, saved_at)
                rows, windows = self._measure(model, task, position, pending[position], should_stop)
                measured = len(rows) == len(pending[position])
                state.rows, state.windows = merge(state.rows, rows), merged(state.windows, windows)
                report(Measured(tuple(rows), tuple(state.steps[-1:])))
            interrupted, due = ranks.any(not measured or should_stop(), time.monotonic() - saved > self.save_every)
            if position == task.stop or interrupted or due or position in task.stops:
                self._flush(losses, state, saved_at)
                if position > began_at:
                    _time(state, began_at, began, program)
                if position > saved_at or (position == task.stop and measured):
                    self.states.save(task, state, previous=saved_at, measured=measured)
                if position == task.stop and measured:
                    break
                saved, saved_at = time.monotonic(), position
                began, began_at = saved, position
                if interrupted:
                    raise Interrupted
            index, offset = program.phase_at(position)
            phase = program.phases[index]
            if index != phase_index:
                _enter(phase, optimizer, reset=offset == 0 and phase.optimizer_state == "reset")
                phase_index = index
            lr = program.lr(position)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = self._backward(state.module, torch.from_numpy(batches.at(position)), phase.precision)
            norm = whole(torch.nn.utils.clip_grad_norm_(parameters, phase.optimizer.clip))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append((position, lr, loss, norm))
            if len(losses) >= FLUSH_STEPS:
                self._flush(losses, state, saved_at)
                elapsed = time.monotonic() - began
                rate = (program.tokens(position + 1) - program.tokens(began_at)) / max(elapsed, 1e-9)
                report(Progress(position + 1, lr, rate, tuple(state.steps[-1:])))
        self.states.keep_hot(state, task.address)

    def measure_stored(
        self, task: Task, position: int, hashes: tuple[str, ...], should_stop: Callable[[], bool]
    ) -> list[Row]:
        """Rows of the stored state at `position` (0: the root), added to the state at the end of `task`.

        Raises Interrupted once those measured until then are added.
        """
        state = self.states.root(task) if position == 0 else self.states.load(task, position, to_train=False)
        if state is None:
            raise FileNotFoundError(f"no stored state at step {position}")
        ranks, store = self.states.ranks, self.states.store
        known = ranks.first(lambda: {row.key for row in store.rows(task.address)})
        missing = [h for h in hashes if (position, h) not in known]
        rows, windows = self._measure(state.model, task, position, missing, should_stop)
        if ranks.leads:
            store.add_rows(task.address, rows, windows)
        if len(rows) < len(missing):
            raise Interrupted
        return rows

    # --- one step -----------------------------------------------------------------------------------------------------

    def _backward(self, module: torch.nn.Module, batch: torch.Tensor, precision: str) -> torch.Tensor:
        """Gradients of the token mean over the global batch, whatever the micro-batch: DDP and FSDP average those of
        the ranks, whose slices are equally large. The loss of this rank's slice, in nats per token."""
        batch = batch.to(self.states.device, non_blocking=True)
        count = batch.shape[0] * (batch.shape[1] - 1)
        total = torch.zeros((), device=self.states.device)
        parts = batch.split(self.micro_batch or batch.shape[0])
        for number, part in enumerate(parts, start=1):
            with accumulating(module, last=number == len(parts)):
                with torch.autocast(self.states.device.type, torch.bfloat16, enabled=precision == "bf16"):
                    loss = loss_of(module, part[:, :-1], part[:, 1:])[0] / count
                loss.backward()
            total = total + loss.detach()
        return total

    def _measure(
        self, model: PreTrainedModel, task: Task, position: int, hashes: list[str], should_stop: Callable[[], bool]
    ) -> tuple[list[Row], WindowHistory]:
        """A row per windows hash, and the losses of the windows that are kept; fewer if told to stop on the way."""
        tokens = task.program.tokens(position)
        precision = task.program.phases[0].precision  # one for a run
        rows: list[Row] = []
        kept: WindowHistory = {}
        for windows_hash in hashes:
            windows = self._windows.get(windows_hash)
            if windows is None:
                measure = task.measures[windows_hash]
                corpus = self.states.corpus(task.recipes[measure.key], whole=False)
                windows = Windows(corpus, measure, self.states.device)
                self._windows[windows_hash] = windows
            measured = measure_loss(
                model,
                windows,
                position=position,
                tokens=tokens,
                precision=precision,
                ranks=self.states.ranks,
                should_stop=should_stop,
            )
            if measured is None:
                break
            row, losses = measured
            rows.append(row)
            if losses is not None:
                kept[row.key] = losses
        return rows, kept

    def _flush(self, losses: list[tuple[int, float, torch.Tensor, torch.Tensor]], state: State, last_good: int) -> None:
        """Read the losses off the device and check them: nothing that is not finite goes further."""
        if not losses:
            return
        ranks = self.states.ranks
        means = ranks.sum(torch.stack([loss for _, _, loss, _ in losses])) / ranks.count
        for (position, lr, _, norm_tensor), loss in zip(losses, means.tolist(), strict=True):
            norm = float(norm_tensor)
            for what, value in (("loss", loss), ("gradient norm", norm)):
                if not math.isfinite(value):
                    raise NonFiniteError(position, last_good, f"the {what}")
            state.steps.append(json.dumps({"position": position, "lr": lr, "loss": loss, "grad_norm": norm}))
        losses.clear()


def _pending(rows: frozenset[RowKey], state: State) -> dict[int, list[str]]:
    """Rows still to be measured, by position."""
    held = {row.key for row in state.rows}
    pending: dict[int, list[str]] = {}
    for position, windows_hash in sorted(rows - held):
        if position >= state.position:
            pending.setdefault(position, []).append(windows_hash)
    return pending


def _enter(phase: Phase, optimizer: torch.optim.AdamW, reset: bool) -> None:
    """The optimizer settings of a phase; `reset` forgets the moments."""
    if reset:
        optimizer.state.clear()
    adam = phase.optimizer
    matrices, _ = optimizer.param_groups  # vectors never decay
    matrices["weight_decay"] = adam.weight_decay
    for group in optimizer.param_groups:
        group["betas"], group["eps"] = (adam.beta1, adam.beta2), adam.eps


def _time(state: State, began_at: int, began: float, program: Program) -> None:
    """A line of timing.jsonl: what a stretch took; one without a step, what it took to get there."""
    seconds = time.monotonic() - began
    tokens = program.tokens(state.position) - program.tokens(began_at)
    line = {"from": began_at, "to": state.position, "seconds": round(seconds, 4)}
    state.timing.append(json.dumps({**line, "tokens_per_second": round(tokens / max(seconds, 1e-9))}))
