"""Replay of Pythia's own first sequences into SlimPajama's seven sources, at `scale=paper` shrunk, all from a hub.

As the papers' experiment is: from the names in conf/ to losses of every source, and once more without a network.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from harness import evaluate
from harness.__main__ import main
from harness.core.shipped import CONF
from harness.corpora import tokenizer
from harness.corpora.batches import Batches
from harness.corpora.corpus import open_corpus
from harness.formats import servers
from harness.plan.recorded_corpora import corpora_of
from harness.plan.recorded_runs import program_of
from harness.program.mixture import counts, integer_weights
from harness.store.store import Store
from tests.checkpoints import save_neox
from tests.hub_server import Hub
from tests.megatron_files import write_pair

TOKENS = 300
SENTENCE = "the loss of a model that goes on with other data falls more slowly than it did before"
PARTS = yaml.safe_load((CONF / "corpus" / "slimpajama.yaml").read_text())["parts"]
SETS = {name: part["where"]["meta.redpajama_set_name"][0] for name, part in PARTS.items()}
SHRUNK = (
    "scale=paper start=pythia model=pythia-14m upstream=pile_pythia downstream=slimpajama replay=0.25 peak=1 "
    "batch.sequences=8 batch.seq_len=16 corpus.pile_pythia.sequence=17 corpus.slimpajama.tokens=60000 "
    "corpus.pile_pythia.tokenizer=EleutherAI/pythia-14m scale.tokens=5120 scale.horizon=5120 evaluate.windows=64 "
    "evaluate.final_windows=128 "
    "warmup=0.1 evaluate.early=[] evaluate.every=0.5x precision=fp32 launch=inline launch.micro_batch=4 name=replayed"
)  # 40 steps of 128 tokens


def texts(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    words = SENTENCE.split()
    return [" ".join(draw.choices(words, k=40)) for _ in range(count)]


def packed(records: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write("".join(json.dumps(record) + "\n" for record in records).encode())
    return bytes(sink.getvalue().to_pybytes())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A published Pythia, its sequences in three parts, the Pile's validation split, and SlimPajama, all tiny."""
    model = tmp_path / "model"
    save_neox(model, max_position_embeddings=32)
    tokenizer.train(texts(0, 200), TOKENS).save(str(model / "tokenizer.json"))
    sequences = np.random.default_rng(0).integers(
        0, tokenizer.load(model / "tokenizer.json").get_vocab_size(), (200, 17)
    )
    write_pair(tmp_path / "pile" / "document", sequences, "u2", (2000, 4000))
    slim: dict[str, bytes] = {}
    for split, chunks, count in (("train", 3, 400), ("validation", 2, 120)):
        for chunk in range(chunks):
            records: list[dict[str, object]] = [
                {"text": text, "meta": {"redpajama_set_name": name}}
                for k, name in enumerate(SETS.values())
                for text in texts(1000 * chunk + k + (split == "train"), count)
            ]
            random.Random(chunk).shuffle(records)
            slim[f"{split}/chunk1/example_{split}_{chunk}.jsonl.zst"] = packed(records)
    with Hub() as server:
        server.use(monkeypatch, tmp_path)
        monkeypatch.setattr(servers, "WAITS", (0.0,))
        for revision in ("main", "step143000"):
            server.commit("EleutherAI/pythia-14m", model, revision=revision)
        server.commit("EleutherAI/pythia-410m", model)
        server.commit("EleutherAI/pile-standard-pythia-preshuffled", tmp_path / "pile", kind="dataset")
        held_out = packed([{"text": text, "meta": {}} for text in texts(7, 200)])
        server.commit("monology/pile-uncopyrighted", {"val.jsonl.zst": held_out}, kind="dataset")
        server.commit("cerebras/SlimPajama-627B", slim, kind="dataset")
        yield server


@pytest.mark.slow
def test_replay_of_pythias_sequences_into_slimpajama(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    call = [*SHRUNK.split(), f"root={root}"]
    assert main([*call, "do=plan"]) == 0
    shown = capsys.readouterr().out
    assert "0.25 pile_pythia (" in shown
    assert "epochs, in its own order)" in shown
    assert not hub.count("GET .*(bin|zst)"), "a plan fetches none of the data"
    assert main(call) == 0
    store = Store(root)
    (document,) = store.runs()
    program = program_of(document)
    last = {(r.corpus, r.windows): r for r in store.rows(document["address"]) if r.position == program.steps}
    weights = integer_weights({name: part["weight"] / 100 for name, part in PARTS.items()})
    expected: set[tuple[str, int]] = set()
    for number in (64, 128):  # along the way, and where the run ends
        shares = zip(PARTS, counts([weights[name] for name in PARTS], number), strict=True)
        of_parts = {(f"slimpajama.{name}", int(share)) for name, share in shares if share}
        expected |= {("pile_pythia", number), ("slimpajama", number), *of_parts}
        whole = last["slimpajama", number]
        assert sum(last[part].loss_sum for part in of_parts) == pytest.approx(whole.loss_sum, rel=1e-6)
    assert set(last) == expected

    recipes = corpora_of(document, store, ["pile_pythia", "slimpajama"])
    batches = Batches(program, {recipe.key: open_corpus(root, recipe) for recipe in recipes.values()})
    drawn: list[tuple[str, int]] = []
    names = {recipe.key: name for name, recipe in recipes.items()}
    for position in range(program.steps):
        index, _ = program.phase_at(position)
        sources, _, windows = batches.draws(position)
        phase = program.phases[index].sources
        drawn += [(names[phase[j].corpus], int(w)) for j, w in zip(sources, windows, strict=True)]
    assert Counter(name for name, _ in drawn) == {"pile_pythia": 80, "slimpajama": 240}
    assert [window for name, window in drawn if name == "pile_pythia"] == list(range(80))

    hub.go_offline(monkeypatch)
    before = len(hub.requests)
    assert evaluate.main(["replayed", "sets=slimpajama.Book", "windows=24", f"root={root}", "launch=inline"]) == 0
    added = [r for r in store.rows(document["address"]) if (r.corpus, r.windows) == ("slimpajama.Book", 24)]
    assert {row.position for row in added} >= {program.steps}
    assert main([*call, "do=plan"]) == 0
    assert "all done" in capsys.readouterr().out
    assert main(call) == 0
    assert len(hub.requests) == before
