"""Counts by formula must be the counts of the models that transformers builds, and those printed for Pythia."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from harness.core.errors import InputError
from harness.program.shape import ModelShape, flops_per_token, non_embedding, parameters
from tests.repository import REPOSITORY

MODELS = REPOSITORY / "conf" / "model"
NAMES = sorted(path.stem for path in MODELS.glob("*.yaml"))


def shape_of(name: str) -> ModelShape:
    settings = yaml.safe_load((MODELS / f"{name}.yaml").read_text())
    assert settings.pop("name") == name
    for rate in ("peak", "floor", "batch"):  # of a published one's pre-training
        assert (rate in settings) == name.startswith("pythia-")
        settings.pop(rate, None)
    return ModelShape(**settings)


def test_pythia_410m_has_the_papers_counts() -> None:
    shape = shape_of("pythia-410m")
    assert parameters(shape) == 405_334_016
    assert non_embedding(shape) == 302_311_424


def test_every_published_size_is_there_with_its_published_count() -> None:
    # Non-embedding parameters as printed in the Pythia paper's Table 1.
    published = {
        "pythia-70m": 18_915_328,
        "pythia-160m": 85_056_000,
        "pythia-410m": 302_311_424,
        "pythia-1b": 805_736_448,
        "pythia-1.4b": 1_208_602_624,
        "pythia-2.8b": 2_517_652_480,
        "pythia-6.9b": 6_444_163_072,
        "pythia-12b": 11_327_027_200,
    }
    assert {name: non_embedding(shape_of(name)) for name in published} == published
    small = {"pythia-14m", "pythia-31m", "mini", "mini_160k", "mini_720k", "mini_1m", "mini_3m"}
    assert small | set(published) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_counts_equal_those_of_transformers(name: str) -> None:
    import torch
    from transformers import GPTNeoXForCausalLM

    from harness.model.build import scratch_config

    shape = shape_of(name)
    with torch.device("meta"):
        model = GPTNeoXForCausalLM(scratch_config(shape))
    total = sum(parameter.numel() for parameter in model.parameters())
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    embeddings = sum(parameter.numel() for layer in ends for parameter in layer.parameters())
    assert parameters(shape) == total
    assert non_embedding(shape) == total - embeddings


def test_flops_follow_the_formula_by_hand() -> None:
    # Pythia-410M at 2,048 tokens: 6 * 302,311,424 + 6 * 50,304 * 1,024 + 12 * 24 * 1,024 * 2,048
    assert flops_per_token(shape_of("pythia-410m"), 2048) == 1_813_868_544 + 309_067_776 + 603_979_776


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"layers": 0}, "model.layers"),
        ({"hidden": 64.0}, "model.hidden"),
        ({"hidden": 66}, "model.hidden"),
        ({"vocab_size": -1}, "model.vocab_size"),
        ({"seq_len": True}, "model.seq_len"),
        ({"heads": 16}, "model.rotary_pct"),  # a head of 4 would rotate one dimension
        ({"rotary_pct": 0.0}, "model.rotary_pct"),
        ({"rotary_pct": float("nan")}, "model.rotary_pct"),
    ],
)
def test_impossible_sizes_are_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        dataclasses.replace(shape_of("mini"), **change)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
