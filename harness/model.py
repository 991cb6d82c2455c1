"""Models as transformers has them: made from scratch, or read from a folder. Nothing here replaces a layer of theirs.

Level 4, the first that loads torch. A program's root names what to make: a `ModelShape` and a seed (`build_scratch`), or
a folder (`load_checkpoint`, after `harness.hub` has checked it without torch). Training and evaluation call `loss_of`,
which works for every causal language model; the weights and the optimizer travel through `harness.checkpoint`.

    tune_process()                                   # once per worker, before the first model
    model = build_scratch(shape, seed=0)
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.1), ...)
    loss_sum, count = loss_of(model, inputs, targets)
"""

from __future__ import annotations

import math

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from harness.shape import ModelShape


def scratch_config(shape: ModelShape) -> GPTNeoXConfig:
    """The transformers config of a shape, as Pythia's: attention and MLP in parallel, untied, no dropout."""
    return GPTNeoXConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_ratio * shape.hidden,
        max_position_embeddings=shape.seq_len,
        rope_parameters={
            "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": shape.rotary_pct
        },
        use_parallel_residual=True,
        tie_word_embeddings=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )


def build_scratch(shape: ModelShape, seed: int) -> PreTrainedModel:
    config = scratch_config(shape)
    with torch.device("meta"):
        model = GPTNeoXForCausalLM(config)
    model.to_empty(device="cpu")
    model.gpt_neox.rotary_emb = type(model.gpt_neox.rotary_emb)(config)
    initialise(model, shape, seed)
    return model


def initialise(model, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    small = math.sqrt(2 / (5 * shape.hidden))
    wang = 2 / (shape.layers * math.sqrt(shape.hidden))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                output = name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight"))
                parameter.normal_(0.0, wang if output else small, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
