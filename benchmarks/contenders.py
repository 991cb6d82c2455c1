"""What the bare loop is compared with, as functions that a `Side` is asked for: the harness, and transformers' Trainer.

Also what torch reaches at a model's own matrix products, which no loop over that model can exceed.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks import bare
from benchmarks.workload import Workload, fresh_store
from harness.model.build import build_scratch
from harness.program.shape import ModelShape
from harness.store.store import Store
from harness.train.loop import Trainer
from harness.train.states import States
from harness.workers import worker

MATMUL_SECONDS = 0.1  # for one measurement of one shape
MATMUL_ROUNDS = 5


def harness(work: Workload, scratch: Path) -> float:
    """Seconds of a run in an empty store, as a worker does it: leases, checks, states with their optimizer, history."""
    trainer = _trainer()  # kept, as a worker keeps it: opened corpora and validation windows
    with fresh_store(scratch) as root:
        trainer.states.store = Store(root)
        began = time.perf_counter()
        for task in work.tasks:
            ending = worker.run_under_lease(task, trainer, lambda _: None, lambda: False)
            if ending.how != "done":
                raise RuntimeError(str(ending))
        return time.perf_counter() - began


def loop(work: Workload, scratch: Path) -> float:
    """Seconds of the bare loop."""
    return bare.run(work, scratch).seconds


def transformers_trainer(work: Workload, scratch: Path) -> float:
    """Seconds of Trainer.train() alone: same weights, windows, AdamW, clipping and batch; nothing logged or saved.

    Its own cosine goes to 0, and it shifts the labels itself, so predicts one token less of each window: neither
    changes the work.
    """
    import transformers
    from transformers import PrinterCallback, TrainingArguments
    from transformers import Trainer as TheirTrainer

    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    material = bare.lay_out(work, scratch)
    windows = [window[:-1] for batch in material.batches for window in batch]
    adam, program = material.adam, work.tasks[-1].program
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=work.batch,
            max_steps=program.steps,
            learning_rate=max(material.lrs),
            lr_scheduler_type="cosine",
            warmup_steps=program.phases[0].steps,
            optim="adamw_torch_fused",
            adam_beta1=adam.beta1,
            adam_beta2=adam.beta2,
            adam_epsilon=adam.eps,
            weight_decay=adam.weight_decay,
            max_grad_norm=adam.clip,
            train_sampling_strategy="sequential",
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = TheirTrainer(
            model=build_scratch(material.root.shape, material.root.seed),
            args=arguments,
            train_dataset=[{"input_ids": window, "labels": window} for window in windows],
        )
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    assert trainer.state.global_step == program.steps
    return seconds


def matmul_rate(shape: ModelShape, batch: int, seq_len: int) -> float:
    """FLOP/s of torch.matmul over the products of one training step, forward and both backward, each as often as it
    occurs: all FLOPs over all seconds. Operands as they lie in memory in the model, results into memory that is there.
    """
    flops = seconds = 0.0
    for (count, many, rows, inner, columns), transposed in _products(shape, batch, seq_len).items():
        x = torch.randn(many, rows, inner)
        w = torch.randn(many, columns, inner).mT if transposed else torch.randn(many, inner, columns)
        grad = torch.randn(many, rows, columns)
        if many == 1:
            x, w, grad = x[0], w[0], grad[0]
        for left, right in ((x, w), (grad, w.mT), (x.mT, grad)):
            flops += count * 2.0 * many * rows * inner * columns
            seconds += count * _seconds(left, right)
    return flops / seconds


def _products(shape: ModelShape, batch: int, seq_len: int) -> dict[tuple[int, int, int, int, int], bool]:
    """(how often, matrices at once, rows, inner, columns) of the forward products; is the right one transposed?"""
    d, wide, tokens = shape.hidden, shape.intermediate_ratio * shape.hidden, batch * seq_len
    heads, width = batch * shape.heads, shape.hidden // shape.heads
    return {
        (shape.layers, 1, tokens, d, 3 * d): True,
        (shape.layers, 1, tokens, d, d): True,
        (shape.layers, 1, tokens, d, wide): True,
        (shape.layers, 1, tokens, wide, d): True,
        (1, 1, tokens, d, shape.vocab_size): True,
        (shape.layers, heads, seq_len, width, seq_len): True,  # queries and keys
        (shape.layers, heads, seq_len, seq_len, width): False,  # weights and values
    }


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """Of one product: the best of a few rounds."""
    out = torch.matmul(left, right)
    began = time.perf_counter()
    torch.matmul(left, right, out=out)
    repeats = max(1, int(MATMUL_SECONDS / MATMUL_ROUNDS / max(time.perf_counter() - began, 1e-7)))
    best = float("inf")
    for _ in range(MATMUL_ROUNDS):
        began = time.perf_counter()
        for _ in range(repeats):
            torch.matmul(left, right, out=out)
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


def saved_and_loaded(work: Workload, scratch: Path, repeats: int) -> list[tuple[float, float]]:
    """(seconds of a save, seconds of a load) of states with their optimizer. A save is on the disk (fsync) when it
    ends; a load makes the model, checks every checksum and reads from a page cache that is warm."""
    task = replace(work.tasks[-1], stops=())
    times = []
    with fresh_store(scratch) as root:
        states = States(Store(root), torch.device("cpu"))
        for recipe in task.recipes.values():
            states.corpus(recipe)
        state = states.root(task)
        for parameter in state.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        state.optimizer.step()  # so that it has moments to store
        state.optimizer.zero_grad(set_to_none=True)
        for position in range(1, repeats + 1):
            state.position = position
            began = time.perf_counter()
            states.save(task, state, previous=0)
            saved = time.perf_counter() - began
            began = time.perf_counter()
            if states.load(task, position) is None:
                raise RuntimeError("the state just saved cannot be loaded")
            times.append((saved, time.perf_counter() - began))
            states.store.remove(task.program.address(position))
    return times


@cache
def _trainer() -> Trainer:
    return worker.prepare(worker.Setup(Path("none yet"), (), save_every=60.0, micro_batch=None, keep="all"))
