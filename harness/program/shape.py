"""The shape of a GPT-NeoX model, and what follows from it by formula: parameters and FLOPs.

A plan reads costs from here, so nothing in this file needs torch; `harness.model.build.build_scratch` makes the model
that the shape describes, and a test holds the formulas against it.

    shape = ModelShape(layers=24, hidden=1024, heads=16, vocab_size=50304, seq_len=2048)   # Pythia-410M
    parameters(shape), non_embedding(shape)                                                # 405334016, 302311424
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.core.errors import InputError


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a GPT-NeoX model with untied embeddings; `seq_len` is the longest sequence in tokens.

    Raises InputError (field `model.<name>`) for sizes that no model has.
    """

    layers: int
    hidden: int
    heads: int
    vocab_size: int
    seq_len: int
    rotary_pct: float = 0.25  # share of each head's width that is rotated
    intermediate_ratio: int = 4  # width of the MLP over `hidden`

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "vocab_size", "seq_len", "intermediate_ratio"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"model.{name}", value, "is not a whole number of at least 1", "give one")
        if self.hidden % self.heads:
            why = f"is not divisible by model.heads={self.heads}"
            raise InputError("model.hidden", self.hidden, why, "make it a multiple of the heads")
        if not (math.isfinite(self.rotary_pct) and 0 < self.rotary_pct <= 1):
            raise InputError("model.rotary_pct", self.rotary_pct, "is not in (0, 1]", "Pythia has 0.25")
        rotated = int(self.hidden // self.heads * self.rotary_pct)
        if rotated < 2 or rotated % 2:
            why = f"rotates {rotated} of the {self.hidden // self.heads} dimensions of a head, not an even number"
            raise InputError("model.rotary_pct", self.rotary_pct, why, "take fewer heads or another share")


def parameters(shape: ModelShape) -> int:
    """All parameters, the two embeddings (input and output, untied) among them."""
    return non_embedding(shape) + 2 * shape.vocab_size * shape.hidden


def non_embedding(shape: ModelShape) -> int:
    """Parameters outside the two embeddings: attention and MLP with biases, layer norms. The N of the laws."""
    d, ratio = shape.hidden, shape.intermediate_ratio
    attention = 3 * d * d + 3 * d + d * d + d  # query, key and value in one matrix; the output projection
    mlp = 2 * ratio * d * d + ratio * d + d
    return shape.layers * (attention + mlp + 2 * 2 * d) + 2 * d  # two layer norms a layer and a final one


def flops_per_token(shape: ModelShape, seq_len: int) -> int:
    """FLOPs of forward and backward for one token of a sequence of `seq_len` tokens."""
    return training_flops_per_token(
        non_embedding=non_embedding(shape),
        vocab_size=shape.vocab_size,
        hidden=shape.hidden,
        layers=shape.layers,
        seq_len=seq_len,
    )


def training_flops_per_token(*, non_embedding: int, vocab_size: int, hidden: int, layers: int, seq_len: int) -> int:
    """6·N + 6·V·d + 12·L·d·T: every weight and the output embedding are used in one multiply-add forward and two
    backward; attention scores and their use of the values cost 2·2·d·T a layer forward, twice that backward (the
    causal half is not discounted, as is usual in reports of model FLOPs)."""
    return 6 * non_embedding + 6 * vocab_size * hidden + 12 * layers * hidden * seq_len
