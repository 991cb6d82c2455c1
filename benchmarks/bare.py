"""The bare straight loop: what somebody would write over transformers' model for one run and nothing else.

Same initial weights, batches, optimizer, schedule and evaluations as the harness; no states, no leases, no checks. All
that can be laid out beforehand (batches, learning rates, validation windows) lies in memory before the clock starts,
which no real script could have for free. tests/benchmarks/test_benchmarks.py holds that its losses are the harness's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)

from benchmarks.workload import Workload
from harness.corpora.batches import Batches
from harness.corpora.corpus import Corpus, open_corpus
from harness.measure.losses import CHUNK_TOKENS, Windows
from harness.model.build import build_scratch, parameter_groups
from harness.program.program import Adam, Scratch

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Material:
    """One run, laid out in memory."""

    root: Scratch
    adam: Adam
    batches: list[torch.Tensor]  # (sequences, seq_len + 1) each
    lrs: list[float]
    windows: dict[int, list[torch.Tensor]]  # position -> validation windows of each corpus


@dataclass(frozen=True)
class Trained:
    """What a run took and what it came to."""

    seconds: float
    measuring: float  # seconds of it that went into evaluations
    tokens_measured: int
    losses: list[float]  # per step
    measured: list[float]  # loss sum of each evaluation, in order of position


_laid_out: dict[tuple[str, bool], Material] = {}


def lay_out(work: Workload, corpora_root: Path) -> Material:
    """The material of a run; made once per process."""
    last = work.tasks[-1]
    known = _laid_out.get((last.address, bool(last.rows)))
    if known is not None:
        return known
    program = last.program
    assert isinstance(program.root, Scratch)
    corpora: dict[str, Corpus] = {key: open_corpus(corpora_root, recipe) for key, recipe in last.recipes.items()}
    batches = Batches(program, corpora)
    windows: dict[str, torch.Tensor] = {}
    for name, measure in last.measures.items():
        windows[name] = Windows(corpora[measure.key], measure, _CPU).tokens
    by_position: dict[int, list[torch.Tensor]] = {}
    for position, name in sorted(last.rows):
        by_position.setdefault(position, []).append(windows[name])
    material = _laid_out[last.address, bool(last.rows)] = Material(
        root=program.root,
        adam=program.phases[0].optimizer,
        batches=[torch.from_numpy(batches.at(position)) for position in range(program.steps)],
        lrs=[program.lr(position) for position in range(program.steps)],
        windows=by_position,
    )
    return material


def train(material: Material) -> Trained:
    """The loop itself."""
    began = time.perf_counter()
    measuring, losses, measured = 0.0, [], []
    model, adam = build_scratch(material.root.shape, material.root.seed), material.adam
    model.train()
    optimizer = torch.optim.AdamW(
        parameter_groups(model, adam.weight_decay), lr=0.0, betas=(adam.beta1, adam.beta2), eps=adam.eps, fused=True
    )
    parameters = list(model.parameters())
    steps = len(material.batches)
    for position in range(steps + 1):
        if position in material.windows:
            paused = time.perf_counter()
            measured += [_measure(model, windows) for windows in material.windows[position]]
            measuring += time.perf_counter() - paused
        if position == steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = material.lrs[position]
        batch = material.batches[position]
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, adam.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    tokens_measured = sum(part[:, 1:].numel() for parts in material.windows.values() for part in parts)
    return Trained(time.perf_counter() - began, measuring, tokens_measured, losses, measured)


def run(work: Workload, corpora_root: Path) -> Trained:
    """Lay out, then train: what a `Side` is asked for."""
    return train(lay_out(work, corpora_root))


@torch.no_grad()
def _measure(model: torch.nn.Module, windows: torch.Tensor) -> float:
    model.eval()
    total = 0.0
    for part in windows.split(max(1, CHUNK_TOKENS // (windows.shape[1] - 1))):
        logits = model(input_ids=part[:, :-1], use_cache=False).logits
        total += F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
    model.train()
    return total
