"""Channel losses: the validation loss of one corpus, on the same windows always.

The windows are cut into chunks of a fixed size, whatever the micro-batch of training is, so that a loss has the same
bits wherever in a run it is measured. Ranks take turns at the chunks; the sum is over chunks in their order, whoever
measured them. `harness.train.loop` asks for every row that a run wants.

    windows = Windows(corpus, measure, device)
    row = measure_loss(model, windows, position=100, tokens=51_200, precision="fp32", ranks=Ranks())
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from harness.corpora.corpus import Corpus
from harness.model.build import loss_of
from harness.model.distributed import Ranks
from harness.store.history import Measure, Row

CHUNK_TOKENS = 2048


class Windows:
    """The measured windows of a corpus as tensors, with the bytes of text their targets stand for."""

    def __init__(self, corpus: Corpus, measure: Measure, device: torch.device) -> None:
        split = corpus.validation.part(measure.part) if measure.part else corpus.validation
        tokens = split.read(split.measured(measure), measure.seq_len)
        self.measure = measure
        self.bytes = int(corpus.token_bytes[tokens[:, 1:]].sum())
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
) -> Row | None:
    """The loss of the weights as they are, summed over all predicted tokens (nats); None if told to stop on the way.

    Every rank must call, and gets the same.
    """
    device = windows.tokens.device
    chunks = windows.tokens.split(max(1, CHUNK_TOKENS // windows.measure.seq_len))
    losses = torch.zeros(len(chunks), dtype=torch.float64, device=device)
    model.eval()
    stopped = False
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for first in range(0, len(chunks), ranks.count):
            (stopped,) = ranks.any(should_stop())
            if stopped:
                break
            own = first + ranks.rank
            chunk = chunks[min(own, len(chunks) - 1)]  # with none of its own a rank repeats one: shards need them all
            loss = loss_of(model, chunk[:, :-1], chunk[:, 1:])[0].double()
            if own < len(chunks):
                losses[own] = loss
    model.train()
    if stopped:
        return None
    total = 0.0
    for one in ranks.sum(losses).tolist():  # the builtin sum compensates, from Python 3.12 on: other bits
        total += one
    measure = windows.measure
    count = measure.windows * measure.seq_len
    return Row(position, tokens, measure.corpus, measure.windows, measure.hash, total, count, windows.bytes)
