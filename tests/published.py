"""The data and the checkpoints of the papers in their published layouts, tiny, for a hub on loopback.

with Hub() as server:
    server.use(monkeypatch, folder)
    publish(server, folder)
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from harness.core.shipped import SWEEPS
from tests.hub_server import Hub

PILE, SLIMPAJAMA, GERMAN = "monology/pile-uncopyrighted", "cerebras/SlimPajama-627B", "some/german"
SETS = ("CommonCrawl", "C4", "Github", "ArXiv", "Book", "Wikipedia", "StackExchange")
MODEL = ("model", "EleutherAI/pythia-410m")
PAPERS = ("rewarm_warmup", "rewarm_max_lr", "rewarm_same_data", "rewarm_checkpoints", "scalable_replay")
# Tokens of the papers' grids -> of these: batches of 4 x 16 tokens.
TOKENS = {50e9: 640, 240e9: 1280, 200e9: 6400, 297e9: 16384}
KNOBS = (
    "scale=paper model.layers=1 model.hidden=16 model.heads=2 model.vocab_size=512 model.seq_len=16 batch.sequences=4 "
    "batch.seq_len=16 scale.tokens=12800 scale.horizon=12800 base.tokens=6400 precision=fp32 evaluate.windows=21 "
    "evaluate.early=[] evaluate.every=1x evaluate.base_every=1x launch.micro_batch=4 launch.workers=2 "
    "corpus.pile.tokens=20000 corpus.pile.unit_bytes=20000 corpus.slimpajama.tokens=20000 "
    "corpus.slimpajama.unit_bytes=20000 corpus.german.unit_bytes=20000 "
    f"corpus.german.files=hf://datasets/{GERMAN}/*.parquet corpus.german.validation=0.2"
).split()


def _words(generator: random.Random, kind: str) -> str:
    return " ".join(kind + generator.choice("aeiou") * generator.randint(1, 3) for _ in range(120))


def _zst(records: list[dict[str, Any]]) -> bytes:
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(lines)
    return bytes(sink.getvalue())


def _pile(generator: random.Random) -> dict[str, bytes]:
    def file(records: int) -> bytes:
        return _zst([{"text": _words(generator, "p"), "meta": {"pile_set_name": "Pile-CC"}} for _ in range(records)])

    return {**{f"train/{n:02}.jsonl.zst": file(120) for n in range(2)}, "val.jsonl.zst": file(30)}


def _slimpajama(generator: random.Random) -> dict[str, bytes]:
    def file(each: int) -> bytes:
        records = [
            {"text": _words(generator, name[:2]), "meta": {"redpajama_set_name": f"RedPajama{name}"}}
            for _ in range(each)
            for name in SETS
        ]
        return _zst(records)

    train = {f"train/chunk{n}/example_train_0.jsonl.zst": file(40) for n in (1, 2)}
    return {**train, "validation/chunk1/example_holdout_0.jsonl.zst": file(10)}


def _german(folder: Path, generator: random.Random) -> dict[str, bytes]:
    table = pyarrow.table({"content": [_words(generator, "ü") for _ in range(200)]})
    pyarrow.parquet.write_table(table, folder / "german.parquet")
    return {"0000.parquet": (folder / "german.parquet").read_bytes()}


def _model(folder: Path, step: int, tokenizer: Path) -> Path:
    """A tiny GPT-NeoX with rows to spare, as Pythia has: 512 for 400 tokens."""
    torch.manual_seed(step)
    shape = GPTNeoXConfig(
        vocab_size=512,
        hidden_size=16,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    GPTNeoXForCausalLM(shape).half().save_pretrained(folder)
    shutil.copy(tokenizer, folder / "tokenizer.json")
    return folder


def publish(server: Hub, tmp_path: Path) -> None:
    """Pythia-410M's steps 10,000, 27,000 and 143,000 with a tokenizer, the Pile, SlimPajama and a German corpus."""
    generator = random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_words(generator, kind[:2]) for kind in (*SETS, "p", "ü")], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for step in (10_000, 27_000, 143_000):
        folder = _model(tmp_path / f"step{step}", step, tmp_path / "tokenizer.json")
        server.commit("EleutherAI/pythia-410m", folder, revision=f"step{step}")
    server.commit("EleutherAI/pythia-410m", folder)
    server.commit(PILE, _pile(generator), kind="dataset")
    server.commit(SLIMPAJAMA, _slimpajama(generator), kind="dataset")
    server.commit(GERMAN, _german(tmp_path, generator), kind="dataset")


def shrunk_sweeps(folder: Path) -> Path:
    """The papers' sweep files with fewer tokens, in a folder."""
    folder.mkdir()
    for name in PAPERS:
        sweep = yaml.safe_load((SWEEPS / f"{name}.yaml").read_text())
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**sweep, "grids_at": _shrunk(sweep["grids_at"])}))
    return folder


def _shrunk(value: Any) -> Any:
    if isinstance(value, list):
        return [_shrunk(item) for item in value]
    if isinstance(value, dict):
        return {key: _shrunk(item) for key, item in value.items()}
    number = float(value) if str(value).replace(".", "").replace("e", "").isdigit() else None
    return TOKENS.get(number, value) if number is not None else value
