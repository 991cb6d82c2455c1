"""Models as transformers has them: made from scratch, or read from a folder. No layer of theirs is replaced.

A program's root names what to make: a `ModelShape` and a seed (`build_scratch`), or a
folder (`load_checkpoint`, which `harness.model.pretrained` checks without torch). Training and evaluation call
`loss_of`, which works for every causal language model; weights and optimizer reach the disk through
`harness.model.tensors`.

    tune_process()                                   # once in a CPU worker, before the first model
    model = build_scratch(shape, seed=0)
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.1), lr=..., fused=True)
    loss_sum, count = loss_of(model, inputs, targets)
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from harness.core.errors import InputError
from harness.model.headers import read_file_header
from harness.model.pretrained import read_config, weight_files
from harness.program.shape import ModelShape

# The two matrices of a layer that write into the residual stream; GPT-NeoX's `output_layer_init_method` draws them.
RESIDUAL_OUTPUTS = ("attention.dense.weight", "mlp.dense_4h_to_h.weight")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>
LARGEST_INT = 2**31 - 1


def tune_process() -> None:
    """Keep freed memory in this process instead of handing it back to the kernel. For CPU workers; changes no number.

    glibc maps every block above 128 KiB (at most 32 MiB, as it adapts) anew and returns the top of its heap, so that
    each step faults the pages of its activations in again: some 2,500 a step at batch 4 x 128. Without these faults a
    step is 1.27 times as fast at 0.36 M parameters and 1.10 times at 1.1 M. Elsewhere than on glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 2**30)
    mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
    mallopt(M_TOP_PAD, 2**26)


def build_scratch(shape: ModelShape, seed: int) -> PreTrainedModel:
    """A GPT-NeoX model on CPU in float32, initialised as Pythia was, from `seed` alone (the global RNG is not used).

    small_init, N(0, 2/(5d)), draws the two embeddings and the matrices that read the residual stream; wang_init,
    N(0, (2/(L·sqrt(d)))²), the two of each layer that write into it. Biases are 0, layer norms 1 and 0. Matrices are
    drawn in the order of the model's parameters.
    """
    config = scratch_config(shape)
    with torch.device("meta"):  # no default initialisation, which would take longer than ours and use the global RNG
        model = GPTNeoXForCausalLM(config)
    model.set_attn_implementation("sdpa")  # the golden losses are this one's, whatever the default becomes
    model.to_empty(device="cpu")
    model.gpt_neox.rotary_emb = type(model.gpt_neox.rotary_emb)(config)  # its frequencies are computed when it is made
    small, wang = math.sqrt(2 / (5 * shape.hidden)), 2 / (shape.layers * math.sqrt(shape.hidden))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, wang if name.endswith(RESIDUAL_OUTPUTS) else small, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


def scratch_config(shape: ModelShape) -> GPTNeoXConfig:
    """The transformers config of a shape, as Pythia's: attention and MLP in parallel, untied, no dropout."""
    return GPTNeoXConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_ratio * shape.hidden,
        max_position_embeddings=shape.seq_len,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": shape.rotary_pct},
        use_parallel_residual=True,
        tie_word_embeddings=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        bos_token_id=0,
        eos_token_id=0,
        dtype=torch.float32,
    )


def load_checkpoint(path: str | Path) -> PreTrainedModel:
    """Any causal language model from a local folder: float32 on CPU, dropout off, in training mode. No network.

    Raises InputError, field `path`, where the folder is unusable, holds other tensors than its config
    describes, or its model sees later tokens.
    """
    model = _loaded(path)
    with torch.no_grad():
        one, other = (model(input_ids=torch.tensor([[0, last]]), use_cache=False).logits[0, 0] for last in (0, 1))
    if not torch.allclose(one, other, rtol=1e-4, atol=1e-4):
        raise InputError("path", path, "the model sees later tokens", "give a causal language model")
    model.train()
    return model


def check_checkpoint(path: str | Path) -> None:
    """`check_tensors` of a folder. No weight is read."""
    folder = Path(path).expanduser()
    read_config(path)
    held = [read_file_header(path, file) for file in weight_files(path)]
    check_tensors(path, folder, {name: sides for tensors in held for name, sides in tensors.items()})


def check_tensors(path: object, folder: Path, shapes: Mapping[str, list[int]]) -> None:
    """InputError, naming `path`, unless tensors of these names and shapes make the model of the folder's config."""
    with torch.device("meta"):
        tensors = {name: torch.empty(sides) for name, sides in shapes.items()}
    _read_model(path, folder, state_dict=tensors, device_map={"": "meta"}, ignore_mismatched_sizes=True)


def _loaded(path: str | Path) -> PreTrainedModel:
    read_config(path)  # this and the next refuse, with their reasons, what cannot be loaded
    weight_files(path)
    return _read_model(path, Path(path).expanduser(), use_safetensors=True)


def _read_model(path: object, folder: Path, **options: Any) -> PreTrainedModel:
    """The model of a folder's config with the folder's weights, or those of a `state_dict`."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        _switch_off_dropout(config)
        made: Any = AutoModelForCausalLM._model_mapping[type(config)]
        model: PreTrainedModel
        model, report = quietly(
            made.from_pretrained,
            None if "state_dict" in options else folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers, safetensors and torch each raise families of their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError("path", path, f"cannot be loaded ({reason})", "give a causal language model") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(kind):
            found, word = min(report[kind]), kind.split("_")[0]
            if kind == "mismatched_keys":
                found = f"{found[0]} is {list(found[1])} where the config makes {list(found[2])}"
            why = f"its weights are not those of its config ({word}: {found})"
            raise InputError("path", path, why, "give a whole causal language model, with the config of its weights")
    return model


def parameter_groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for AdamW: matrices (`weight_decay`), then vectors (none). Tied weights are in once, frozen never."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]


def loss_of(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Summed cross-entropy in nats (float32, differentiable) and the number of tokens it is over.

    `inputs` and `targets` are (batch, tokens) of token ids, targets one token on. The sum, not the mean: a batch cut
    into micro-batches is the sum of theirs over the whole count.
    """
    logits = model(input_ids=inputs, use_cache=False).logits  # without use_cache the keys and values would be kept
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum"), targets.numel()


def losses_by_sequence(
    model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of `loss_of`, to the bit, and the loss of each sequence: (batch,), float64."""
    logits = model(input_ids=inputs, use_cache=False).logits
    logs = F.log_softmax(logits.flatten(0, 1).float(), dim=-1)  # what cross_entropy is made of
    total = F.nll_loss(logs, targets.flatten(), reduction="sum")
    each = F.nll_loss(logs, targets.flatten(), reduction="none")
    return total, each.double().view_as(targets).sum(dim=1)


def _switch_off_dropout(config: Any) -> None:
    """Rates to zero whatever the checkpoint was trained with, as in the papers: a stored state then follows from its
    program alone, with no random stream to carry along."""
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or "pdrop" in name):
            setattr(config, name, 0.0)


def quietly(load: Any, *arguments: Any, **options: Any) -> Any:
    """Call without transformers' progress bar and report, which would break a one-line error or a live display."""
    settings: Any = transformers.utils.logging
    level, bar = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity(logging.CRITICAL)
    settings.disable_progress_bar()
    try:
        return load(*arguments, **options)
    finally:
        settings.set_verbosity(level)
        if bar:
            settings.enable_progress_bar()
