"""The folder of an exported model: families, shards, numbers that do not fit, a hub that refuses."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from harness.core.errors import CorruptError, InputError
from harness.corpora import tokenizer
from harness.exported import folder as export
from harness.exported.upload import push
from harness.model.build import build_scratch, load_checkpoint
from harness.model.pretrained import checkpoint_content
from harness.model.tensors import save_model
from harness.program.program import Checkpoint, Scratch
from harness.program.shape import ModelShape
from tests.hub_server import Hub

SIZES: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen2 tied": lambda: Qwen2ForCausalLM(
        Qwen2Config(vocab_size=330, num_key_value_heads=1, tie_word_embeddings=True, **SIZES)
    ),
    "llama untied": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=330, num_key_value_heads=1, **SIZES)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=330, n_embd=16, n_layer=2, n_head=2, n_positions=32)),
    # its experts have other names and shapes in memory than in a checkpoint
    "mixtral": lambda: MixtralForCausalLM(
        MixtralConfig(vocab_size=330, num_key_value_heads=1, num_local_experts=2, **SIZES)
    ),
}
TOKENS = torch.arange(3, 19)[None]


@pytest.fixture(scope="module")
def words(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json whose end of a document is not token 0."""
    file = tmp_path_factory.mktemp("words") / "tokenizer.json"
    made = tokenizer.train((path.read_text() for path in sorted(texts.rglob("*.txt"))), 300)
    made.add_special_tokens(["<|end|>"])
    made.save(str(file))
    return file


def of_scratch(folder: Path, words: Path, dtype: str = "fp32", change: float | None = None) -> export.Exported:
    """A stored state of other weights than those of its root's seed."""
    shape = ModelShape(1, 16, 2, 320, 16, rotary_pct=0.5)
    model = build_scratch(shape, seed=1)
    if change is not None:
        with torch.no_grad():
            next(model.parameters())[0, 0] = change
    folder.mkdir(parents=True)
    save_model(folder, model)
    return export.Exported(Scratch(shape, 0), folder, None, words, "<|end|>", dtype)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(TOKENS).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_back_bit_for_bit(family: str, tmp_path: Path, words: Path) -> None:
    torch.manual_seed(0)
    FAMILIES[family]().save_pretrained(tmp_path / "root")
    torch.manual_seed(1)
    FAMILIES[family]().save_pretrained(tmp_path / "trained")
    trained: Any = load_checkpoint(tmp_path / "trained")
    (tmp_path / "state").mkdir()
    save_model(tmp_path / "state", trained)
    root = Checkpoint(checkpoint_content(tmp_path / "root"))
    exported = export.Exported(root, tmp_path / "state", tmp_path / "root", words, "<|end|>", "fp32")
    export.write(tmp_path / "out", exported, {}, {})
    read: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(read), logits(trained))
    how: dict[str, Any] = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(read.generate(TOKENS, **how), trained.generate(TOKENS, **how))
    names = [set(json.loads((tmp_path / at / "config.json").read_text())) for at in ("root", "out")]
    assert names[1] - names[0] == {"torch_dtype"}


def test_the_end_of_a_document_is_that_of_the_tokenizer(tmp_path: Path, words: Path) -> None:
    export.write(tmp_path / "out", of_scratch(tmp_path / "state", words), {}, {})
    for file in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "out" / file).read_text())["eos_token_id"] == 300
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["eos_token"] == "<|end|>"
    lost = export.Exported(Scratch(ModelShape(1, 16, 2, 320, 16), 0), tmp_path / "state", None, words, "<eos>", "fp32")
    with pytest.raises(CorruptError, match="has no token <eos>"):
        export.write(tmp_path / "other", lost, {}, {})
    assert not (tmp_path / "other").exists()


def test_what_is_large_is_cut_into_shards(tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "SHARD", "20KB")
    exported = of_scratch(tmp_path / "state", words)
    export.write(tmp_path / "out", exported, {}, {})
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    whole = build_scratch(ModelShape(1, 16, 2, 320, 16, rotary_pct=0.5), seed=1)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), logits(whole))


def test_files_have_the_mode_of_any_new_file(tmp_path: Path, words: Path) -> None:
    before = os.umask(0o027)
    try:
        export.write(tmp_path / "out", of_scratch(tmp_path / "state", words), {"README.md": "a card"}, {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o640}


def test_an_export_that_was_stopped_leaves_nothing(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_write_tokenizer", stopped)
    with pytest.raises(KeyboardInterrupt):
        export.write(tmp_path / "new" / "out", of_scratch(tmp_path / "state", words), {}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


@pytest.mark.parametrize(
    ("prepare", "dtype", "change", "message"),
    [
        (lambda folder: folder.mkdir() or (folder / "mine").touch(), "fp32", None, "is there and not empty"),
        (lambda folder: folder.touch(), "fp32", None, "is there, and no folder"),
        (lambda folder: folder.symlink_to("nowhere"), "fp32", None, "is there, and no folder"),
        (lambda _: None, "fp16", 1e5, "a weight of 1e+05 does not fit into it; give bf16"),
    ],
    ids=["not empty", "file", "link", "too large"],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, words: Path, prepare: Callable[[Path], object], dtype: str, change: float | None, message: str
) -> None:
    prepare(tmp_path / "out")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        export.write(tmp_path / "out", of_scratch(tmp_path / "state", words, dtype, change), {}, {})
    assert message in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "state"])


def test_a_disk_that_is_too_small_is_told_before(tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = of_scratch(tmp_path / "state", words)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match=r"the model takes [\d.]+ kB, 1 kB are free"):
        export.write(tmp_path / "out", exported, {}, {})


@pytest.fixture
def pushed(tmp_path: Path, words: Path) -> Path:
    export.write(tmp_path / "out", of_scratch(tmp_path / "state", words), {"README.md": "---\ntags: [a]\n---\n"}, {})
    return tmp_path / "out"


def test_a_hub_serves_what_was_pushed(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.formats.servers.WAITS", (0.01,))
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path, token="hf_writes")
        url = push(pushed, "someone/new", public=False)
        assert url.startswith(f"{hub.url}/someone/new/commit/")
        repository = hub.repositories["model", "someone/new"]
        files = repository.commits[repository.revisions["main"]]
        assert {name: content for name, content in files.items() if name != ".gitattributes"} == {
            path.name: path.read_bytes() for path in pushed.iterdir()
        }
        hub.fault("POST .*commit", 503)  # busy: asked again
        push(pushed, "someone/new", public=False)  # again: nothing changes
        served = AutoModelForCausalLM.from_pretrained("someone/new")
        assert torch.equal(logits(served), logits(AutoModelForCausalLM.from_pretrained(pushed)))
        assert ModelCard.load(pushed / "README.md").data.tags == ["a"]


@pytest.mark.parametrize(
    ("token", "fault", "message"),
    [
        ("hf_wrong_and_secret", None, r"token \(HF_TOKEN\) is missing or wrong"),
        (None, None, r"HF_TOKEN"),
        ("hf_writes", 403, r"may not write there"),
        ("hf_writes", 404, r"knows no such owner or repository"),
        ("hf_writes", 500, r"the hub answers 500"),
        ("hf_writes", 451, r"the hub answers 451"),
    ],
    ids=["wrong", "none", "forbidden", "missing", "broken", "other"],
)
def test_a_hub_that_refuses_is_one_line_without_the_token(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, fault: int | None, message: str
) -> None:
    monkeypatch.setattr("harness.formats.servers.WAITS", (0.01,))
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path, token=token)
        if fault:
            hub.fault("POST .*create", fault, times=9)
        with pytest.raises(InputError, match=message) as caught:
            push(pushed, "someone/new", public=False)
    assert caught.value.field == "--push"
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "call again to push it" in str(caught.value)


@pytest.mark.parametrize("step", ["preupload", "batch", "PUT", "commit"])
@pytest.mark.parametrize(("status", "message"), [(401, "missing or wrong"), (403, "may not write there")])
def test_who_may_make_a_repository_and_not_fill_it_is_told(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, status: int, message: str
) -> None:
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path, token="hf_writes")
        hub.fault(f"(POST|PUT) .*{step}" if step != "PUT" else "PUT ", status, times=9)
        with pytest.raises(InputError, match=f"^--push=someone/new: .*{message}") as caught:
            push(pushed, "someone/new", public=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["gone", "offline"])
def test_a_hub_that_is_not_reached_is_one_line(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("harness.formats.servers.WAITS", (0.01,))
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path, token="hf_writes")
        if how == "offline":
            hub.go_offline(monkeypatch)
    with pytest.raises(InputError, match=r"cannot be reached|HF_HUB_OFFLINE keeps"):
        push(pushed, "someone/new", public=False)
