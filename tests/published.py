"""The data and the checkpoints of the papers in their published layouts, tiny, for a hub on loopback.

with Hub() as server:
server.use(monkeypatch, folder)
publish(server, folder)
"""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
import yaml
from safetensors.torch import load_file

from harness.core.shipped import SWEEPS
from harness.corpora import tokenizer
from harness.texts import embedded
from tests.checkpoints import save_neox
from tests.hub_server import Hub

PILE, SLIMPAJAMA, GERMAN = "monology/pile-uncopyrighted", "cerebras/SlimPajama-627B", "some/german"
SETS = ("CommonCrawl", "C4", "Github", "ArXiv", "Book", "Wikipedia", "StackExchange")
MODEL = ("model", "EleutherAI/pythia-410m")
PAPERS = ("rewarm_warmup", "rewarm_max_lr", "rewarm_same_data", "rewarm_checkpoints", "scalable_replay")
PICKLED_STEP = 512  # published before there were safetensors
STEPS = (PICKLED_STEP, 10_000, 27_000, 143_000)
SAMPLE = 0.1  # of the embedded texts
# Tokens of the papers' grids -> of these: batches of 4 x 16 tokens.
TOKENS = {50e9: 640, 240e9: 1280, 200e9: 3840, 297e9: 16384}
KNOBS = (
    "scale=paper model.layers=1 model.hidden=8 model.heads=1 model.vocab_size=50304 model.seq_len=16 batch.sequences=4 "
    "batch.seq_len=16 scale.tokens=6400 scale.horizon=6400 base.tokens=6400 precision=fp32 evaluate.windows=21 "
    "evaluate.final_windows=null "
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


@functools.cache
def _tokenizer() -> str:
    """tokenizer.json of 50,277 tokens, as many as Pythia's, trained on the embedded texts: once for all tests."""
    texts = (document.text for name in ("docs", "python") for document in embedded.documents(name, SAMPLE))
    made = tokenizer.train(texts, 50_277)
    assert made.get_vocab_size() == 50_277
    return str(made.to_str())


def _model(folder: Path, step: int) -> Path:
    """A GPT-NeoX as narrow as can be with rows to spare, as Pythia has: 50,304 for 50,277 tokens."""
    save_neox(folder, step, vocab_size=50_304, hidden_size=8, num_attention_heads=1).half().save_pretrained(folder)
    (folder / "tokenizer.json").write_text(_tokenizer())
    return folder


def publish(server: Hub, tmp_path: Path) -> None:
    """Pythia-410M's steps with a tokenizer, step 512 pickled only; the Pile, SlimPajama and a German corpus."""
    generator = random.Random(0)
    for step in STEPS:
        folder = _model(tmp_path / f"step{step}", step)
        if step == PICKLED_STEP:
            torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
            (folder / "model.safetensors").unlink()
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
