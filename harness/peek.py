"""`python -m harness.peek RUN --at POSITION [--root R]`: the decoded windows of a batch, each with its source."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.cli import run_command
from harness.core.errors import InputError
from harness.core.options import Parser, path, refuse_words
from harness.plan.recorded_runs import corpus_names, find_run, program_of
from harness.store.store import Store


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m harness.peek", description=__doc__)
    parser.add_argument("run", help="a run's name, folder or key (a beginning that is unique will do)")
    parser.add_argument("--at", type=int, required=True, metavar="POSITION", help="optimizer steps since the root")
    parser.add_argument("--root", type=path, default=Path("runs"), help="the store (default: runs)")
    options, words = parser.read(arguments)
    refuse_words(words, parser, arguments)
    store = Store(options.root)
    document = find_run(store, options.run)
    program, names = program_of(document), corpus_names(document)
    if not 0 <= options.at < program.steps:
        raise InputError("--at", options.at, f"the run has {program.steps} steps", f"give 0 to {program.steps - 1}")

    from harness.corpora.batches import Batches  # after the checks: it imports the tokenizers
    from harness.corpora.corpus import open_corpus
    from harness.plan.recorded_corpora import corpora_of

    index, _ = program.phase_at(options.at)
    phase = program.phases[index]
    recipes = corpora_of(document, store, [names[source.corpus] for source in phase.sources])
    corpora = {recipe.key: open_corpus(store.root, recipe) for recipe in recipes.values()}
    sources, epochs, windows = Batches(program, corpora).draws(options.at)
    print(
        f"step {options.at} of {program.steps}, phase {index + 1} of {len(program.phases)}, "
        f"lr {program.lr(options.at):.4g}"
    )
    for slot, (j, epoch, window) in enumerate(zip(sources, epochs, windows, strict=True)):
        corpus = corpora[phase.sources[j].corpus]
        tokens = corpus.train.read(windows[slot : slot + 1], phase.seq_len)[0]
        origins = ", ".join(corpus.source("train", int(window), phase.seq_len))
        print(f"\n--- slot {slot}: {names[corpus.key]}, epoch {epoch}, window {window}: {origins}")
        print(corpus.tokenizer().decode(tokens.tolist(), skip_special_tokens=False))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
