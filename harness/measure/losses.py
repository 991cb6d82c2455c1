"""Channel losses: the validation loss of one corpus, on the same windows always.

The windows are cut into chunks of a fixed size, whatever the micro-batch of training is, so that a loss has the same
bits wherever in a run it is measured. Ranks take turns at the chunks; the sum is over chunks in their order, whoever
measured them. `harness.train.loop` asks for every row that a run wants.

    windows = Windows(corpus, measure, device)
    row, losses = measure_loss(model, windows, position=100, tokens=51_200, precision="fp32", ranks=Ranks())
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel

from harness.corpora.corpus import Corpus
from harness.model.build import loss_of, losses_by_sequence
from harness.model.distributed import Ranks
from harness.store.history import Measure, Row
from harness.store.windows import WINDOW, WindowLosses

CHUNK_TOKENS = 2048


class Windows:
    """The measured windows of a corpus as tensors, with the bytes of text their targets stand for."""

    def __init__(self, corpus: Corpus, measure: Measure, device: torch.device) -> None:
        split = corpus.validation.part(measure.part) if measure.part else corpus.validation
        self.numbers = split.measured(measure)
        tokens = split.read(self.numbers, measure.seq_len)
        self.measure = measure
        self.bytes_each = corpus.token_bytes[tokens[:, 1:]].sum(axis=1)
        self.bytes = int(self.bytes_each.sum())
        self.tokens = torch.from_numpy(tokens).to(device)


@torch.no_grad()
def measure_loss(
    model: PreTrainedModel,
    windows: Windows,
    *,
    position: int,
    tokens: int,
    precision: str,
    ranks: Ranks,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Row, WindowLosses | None] | None:
    """The loss of the weights as they are, summed over all predicted tokens (nats), and that of each window if the
    measure keeps them; None if told to stop on the way. Keeping them leaves the bits of the row alone.

    Every rank must call, and gets the same.
    """
    device = windows.tokens.device
    chunks = windows.tokens.split(max(1, CHUNK_TOKENS // windows.measure.seq_len))
    losses = torch.zeros(len(chunks), dtype=torch.float64, device=device)
    keeps = windows.measure.least is not None
    each = torch.zeros(len(windows.tokens) if keeps else 0, dtype=torch.float64, device=device)
    model.eval()
    stopped = False
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for first in range(0, len(chunks), ranks.count):
            (stopped,) = ranks.any(should_stop())
            if stopped:
                break
            own = first + ranks.rank
            chunk = chunks[min(own, len(chunks) - 1)]  # with none of its own a rank repeats one: shards need them all
            if keeps:
                loss, by_window = losses_by_sequence(model, chunk[:, :-1], chunk[:, 1:])
            else:
                loss, _ = loss_of(model, chunk[:, :-1], chunk[:, 1:])
            if own < len(chunks):
                losses[own] = loss.double()
                if keeps:
                    each[own * len(chunks[0]) :][: len(chunk)] = by_window
    model.train()
    if stopped:
        return None
    total = 0.0
    for one in ranks.sum(losses).tolist():  # the builtin sum compensates, from Python 3.12 on: other bits
        total += one
    measure, number = windows.measure, len(windows.tokens)
    count = number * measure.seq_len
    row = Row(position, tokens, measure.corpus, number, measure.hash, total, count, windows.bytes)
    if not keeps:
        return row, None
    kept = np.empty(number, WINDOW)
    kept["window"], kept["byte_count"] = windows.numbers, windows.bytes_each
    kept["loss_sum"], kept["token_count"] = ranks.sum(each).cpu().numpy(), measure.seq_len
    return row, kept
