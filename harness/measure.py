"""Channel losses: the validation loss of one corpus, on the same windows always.

Level 5. The windows are cut into chunks of a fixed size, whatever the micro-batch of training is, so that a loss
has the same bits wherever in a run it is measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel

from harness.corpus import Corpus
from harness.history import Measure, Row
from harness.model import loss_of

CHUNK_TOKENS = 2048


class Windows:
    """The measured windows of a corpus as tensors, with the bytes of text their targets stand for."""

    def __init__(self, corpus: Corpus, measure: Measure, device: torch.device) -> None:
        split = corpus.validation
        indices = np.asarray(measure.indices(split.windows(measure.seq_len)))
        tokens = split.read(indices, measure.seq_len)
        self.measure = measure
        self.bytes = int(corpus.token_bytes[tokens[:, 1:]].sum())
        self.tokens = torch.from_numpy(tokens).to(device)


@torch.no_grad()
def measure_loss(
    model: PreTrainedModel, windows: Windows, *, position: int, tokens: int, precision: str,
    should_stop: Callable[[], bool] = lambda: False,
) -> Row | None:
    """The loss of the weights as they are, summed over all predicted tokens (nats); None if told to stop on the way."""
    device = windows.tokens.device
    chunk = max(1, CHUNK_TOKENS // windows.measure.seq_len)
    model.eval()
    stopped = False
    total = torch.zeros((), dtype=torch.float64, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for part in windows.tokens.split(chunk):
            if stopped := should_stop():
                break
            total += loss_of(model, part[:, :-1], part[:, 1:])[0].double()
    model.train()
    if stopped:
        return None
    measure = windows.measure
    count = measure.windows * measure.seq_len
    return Row(position, tokens, measure.corpus, measure.windows, measure.hash, float(total), count, windows.bytes)
