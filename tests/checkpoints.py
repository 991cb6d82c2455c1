"""Tiny checkpoints for tests, as `save_pretrained` writes them.

model = save_neox(folder, seed=3, vocab_size=96)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 16,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}


def save_neox(folder: Path, seed: int = 0, tokenizer: Path | None = None, **sizes: Any) -> PreTrainedModel:
    """A GPT-NeoX as Pythia is one, drawn from `seed` and written into the folder; `tokenizer`: a file beside it."""
    return _save(GPTNeoXForCausalLM, GPTNeoXConfig(**{**SIZES, **sizes}), folder, seed, tokenizer)


def save_llama(folder: Path, seed: int = 0, tokenizer: Path | None = None, **sizes: Any) -> PreTrainedModel:
    """The same of a Llama."""
    return _save(LlamaForCausalLM, LlamaConfig(**{**SIZES, "intermediate_size": 32, **sizes}), folder, seed, tokenizer)


def _save(kind: Any, config: Any, folder: Path, seed: int, tokenizer: Path | None) -> PreTrainedModel:
    torch.manual_seed(seed)
    model: PreTrainedModel = kind(config)
    model.save_pretrained(folder)
    if tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return model
