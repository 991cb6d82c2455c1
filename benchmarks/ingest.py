"""How fast texts become tokens, and in how much memory: against the tokenizer alone, and `datasets.map`.

Each side is a process of its own that times its work, imports apart. All read the same jsonl of real text (the embedded
docs, each document made another one by a number, since repeats are left out) with one tokenizer of 32,768 tokens.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.sides import interleaved
from benchmarks.table import Row
from benchmarks.workload import REPOSITORY, Bench, print_line
from harness.core import files
from harness.core.cores import cores
from harness.measure.overlap import find_overlaps
from harness.store.history import Measure
from harness.texts.listed import FilesSource, ListedFile, Part, listing
from harness.texts.recipe import CORPUS_CODE, Recipe, given_tokenizer

MEGABYTE = 1_000_000


def ingest(bench: Bench) -> list[Row]:
    """Building one jsonl file on all cores: against encode_batch_fast and datasets.map; peak memory by size."""
    folder = bench.scratch / "ingest"
    folder.mkdir()
    size, pairs = (2, 1) if bench.quick else (200, min(3, bench.pairs))
    data, vocabulary = folder / "texts.jsonl", folder / "tokenizer.json"
    _train(vocabulary, 1000 if bench.quick else 32_768)
    _write(data, size * MEGABYTE)

    def side(name: str, path: Path = data) -> float:
        shutil.rmtree(folder / "out", ignore_errors=True)
        return _ask(name, path, vocabulary, folder / "out")["MB/s"]

    sides: dict[str, Callable[[], float]] = {name: (lambda name=name: side(name)) for name in SIDES}  # type: ignore[misc]
    found = interleaved("ingest", pairs, sides)
    note = f"{size} MB of one jsonl file, {cores()} cores"
    rows = [
        Row(
            "ingest: text to a corpus, against encode_batch_fast",
            "MB/s",
            found["build"],
            found["encode"],
            0.9,
            note=note,
        ),
        Row("ingest: text to a corpus, against datasets.map", "MB/s", found["build"], found["map"], 1.25, note=note),
    ]
    sizes = (1, 2) if bench.quick else (200, 2000)
    peaks = []
    for megabytes in sizes:
        _write(data, megabytes * MEGABYTE)
        shutil.rmtree(folder / "out", ignore_errors=True)
        peaks.append(_ask("build", data, vocabulary, folder / "out")["peak"])
        print_line(f"ingest: {megabytes} MB: peak of {peaks[-1]:.0f} MB")
    what = f"ingest: peak memory of the largest process, {sizes[1]:,} MB of text against {sizes[0]:,}"
    rows.append(Row(what, "MB", (peaks[1],), (peaks[0],), 1.1, at_most=True, note="units of 1 GB"))
    return rows


def clean(bench: Bench) -> list[Row]:
    """Looking for measured windows in what is trained on, against building it: seconds of all cores."""
    folder = bench.scratch / "clean"
    folder.mkdir()
    size, pairs = (2, 1) if bench.quick else (25, min(3, bench.pairs))
    data, vocabulary, out = folder / "texts.jsonl", folder / "tokenizer.json", folder / "out"
    _train(vocabulary, 1000 if bench.quick else 32_768)
    _write(data, size * MEGABYTE, share=1.0)  # each document once: of repeats one would be held out
    key = recipe_of(data, vocabulary).key
    pairs_of = [(Measure("texts", key, windows, 128, least=1), key) for windows in (64, 1024)]
    built, looked = [], []
    for pair in range(pairs):
        shutil.rmtree(out, ignore_errors=True)
        built.append(_seconds_of_cores(lambda: _build(data, vocabulary, out)))
        looked.append(_seconds_of_cores(lambda: find_overlaps(out, pairs_of)))
        print_line(f"clean, pair {pair + 1} of {pairs}: build {built[-1]:.4g} s, look {looked[-1]:.4g} s")
    what = "clean: looking for measured windows in what is trained on, against building it"
    note = f"{size} MB of one jsonl file, 64 and 1,024 windows of 128 tokens; seconds of all cores together"
    return [Row(what, "s", tuple(looked), tuple(built), 0.05, at_most=True, note=note)]


def _seconds_of_cores(work: Callable[[], object]) -> float:
    """Of this process and those that it started."""
    before = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - before


def recipe_of(data: Path, vocabulary: Path) -> Recipe:
    """One file, a hundredth held out."""
    file = ListedFile(data.name, data.stat().st_size, f"sha256 {files.sha256(data)}", str(data))
    return Recipe("texts", FilesSource(listing([file]), (Part("all"),)), given_tokenizer(vocabulary), 0.01, CORPUS_CODE)


def _build(data: Path, vocabulary: Path, out: Path) -> None:
    from harness.ingest.build import build

    build([recipe_of(data, vocabulary)], out, progress=False, processes=cores())


def _map(data: Path, vocabulary: Path, out: Path) -> None:
    """`datasets` as its guide tunes it: batched, a process per core, columns dropped, tokenizer from its file."""
    import datasets
    from tokenizers import Tokenizer

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("json", data_files=str(data), split="train", cache_dir=str(out / "cache"))
    tokenizer = Tokenizer.from_file(str(vocabulary))

    def tokens(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [one.ids for one in tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)]}

    loaded.map(tokens, batched=True, batch_size=1000, num_proc=cores(), remove_columns=loaded.column_names)


def _encode(data: Path, vocabulary: Path, out: Path) -> None:  # noqa: ARG001
    """The tokenizer alone, on texts that are in memory; its own threads on all cores."""
    tokenizer, batches = _in_memory
    for batch in batches:
        tokenizer.encode_batch_fast(batch, add_special_tokens=False)


SIDES = {"build": _build, "encode": _encode, "map": _map}


def _ask(name: str, data: Path, vocabulary: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.ingest", name, str(data), str(vocabulary), str(out)]
    threads = "false" if name == "map" else "true"  # map has processes of its own
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": threads, "RAYON_NUM_THREADS": str(cores())}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _texts(share: float = 0.3) -> Iterator[str]:
    """Real documents without end, no two alike; `share` of the embedded ones are 30 MB at 1."""
    from harness.texts import embedded

    documents = [document.text for document in embedded.documents("docs", share)]
    number = 0
    while True:
        for text in documents:
            number += 1
            yield f"{number} {text}"


def _write(path: Path, size: int, share: float = 0.3) -> None:
    with path.open("w", encoding="utf-8") as file:
        for text in _texts(share):
            file.write(json.dumps({"text": text}) + "\n")
            if file.tell() >= size:
                return


def _train(path: Path, vocab_size: int) -> None:
    from harness.corpora import tokenizer

    def sample() -> Iterator[str]:
        size = 0
        for text in _texts():
            yield text
            size += len(text)
            if size > 400 * vocab_size:
                return

    path.write_text(tokenizer.train(sample(), vocab_size).to_str(), encoding="utf-8")


_in_memory: tuple = ()  # type: ignore[type-arg]


def main(name: str, data: Path, vocabulary: Path, out: Path) -> None:
    """One side, in this process: prints its rate, and the most memory of any process that it started."""
    global _in_memory
    if name == "encode":
        from tokenizers import Tokenizer

        texts = [json.loads(line)["text"] for line in data.open(encoding="utf-8")]
        batches = [texts[at : at + 1000] for at in range(0, len(texts), 1000)]
        _in_memory = (Tokenizer.from_file(str(vocabulary)), batches)
    began = time.perf_counter()
    SIDES[name](data, vocabulary, out)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the processes that read and tokenise
    print(json.dumps({"MB/s": data.stat().st_size / MEGABYTE / seconds, "peak": peak / 1000}))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))
