"""What a plan says that it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.plan.cost import GPUS, MFU, corpora_to_make, flops_of, only_measured, totals
from harness.plan.plan import plan
from harness.program.shape import flops_per_token
from harness.report import total_lines
from harness.texts.listed import FilesSource, ListedFile, MegatronSource, Part, listing
from harness.texts.recipe import TokenizerRecipe
from tests.composed import points_of

TOKENS = 299_280_000_000


def test_a_run_at_paper_scale_costs_what_its_tokens_do() -> None:
    (point,) = points_of("scale=paper start=scratch")
    (trained, costs) = point.program.tokens(point.program.steps), totals(plan([point]))
    shape = point.run.shape
    assert shape is not None
    assert trained == pytest.approx(TOKENS, rel=1e-5)
    assert costs["flops"] == pytest.approx(trained * flops_per_token(shape, 2048), rel=3e-3)  # measuring is little
    assert costs["flops"] > trained * flops_per_token(shape, 2048)
    for card, peak in GPUS.items():
        assert costs["gpu_hours"][card] == pytest.approx(costs["flops"] / (MFU * peak) / 3600)
    text = "\n".join(total_lines(costs))
    assert "GPU-hours at an MFU of 40%: 1,820 on A100 (312 TFLOP/s) or 574 on H100 (989 TFLOP/s)" in text


def test_gpu_hours_are_left_out_where_there_are_none() -> None:
    assert "GPU-hours" not in "\n".join(total_lines(totals(plan(points_of("peak=1")))))


def test_rows_cost_the_windows_that_they_are_on() -> None:
    (point,) = points_of("peak=1")
    (few,) = points_of("peak=1 evaluate.windows=16 evaluate.final_windows=256")
    one, other = (flops_of(p, 0, p.request.rows, p.request.measures) for p in (point, few))
    assert one == pytest.approx(4 * other)


def test_a_corpus_of_tokenizers_that_nobody_has_looked_at_is_made_once(tmp_path: Path) -> None:
    (point,) = points_of("peak=1")
    own = point.run.recipes["docs"]
    files = listing([ListedFile("0.jsonl", 10**9, "etag 0", "https://a/0.jsonl")])
    source = FilesSource(files, (Part("all"),))

    def size(*tokenizers: str) -> float:
        made = [replace(own, source=source, tokenizer=TokenizerRecipe(300, file=name)) for name in tokenizers]
        point.run = replace(point.run, recipes={str(n): recipe for n, recipe in enumerate(made)})
        return corpora_to_make(plan([point]), tmp_path)["corpora_bytes"] / 5e8

    assert size("not resolved a/b@step1") == 1
    assert size("not resolved a/b@step1", "not resolved a/b@step2", "not listed a/b") == 1
    assert size("1" * 64, "not resolved a/b@step2") == 1
    assert size("1" * 64, "2" * 64, "not listed a/b") == 2


def test_what_has_no_size_yet_is_told() -> None:
    (point,) = points_of("peak=1")
    assert "not resolved" not in "\n".join(total_lines(totals(plan([point]))))
    point.run = replace(point.run, parameters=0)
    assert "of 1 runs the size is not resolved" in "\n".join(total_lines(totals(plan([point]))))


def test_corpora_that_are_to_be_made_are_told_beforehand(tmp_path: Path) -> None:
    files = [ListedFile(f"{n:05}.jsonl.zst", 10**9, f"etag {n}", f"hf://datasets/a/b/{n}") for n in range(8)]
    parts = listing(
        [ListedFile("d.idx", 10**6, "sha256 0", "https://a/d.idx"), ListedFile("d.bin", 9 * 10**8, "x", "/d")]
    )
    (point,) = points_of("peak=1")
    upstream, downstream = point.run.recipes["docs"], point.run.recipes["python"]
    for tokens, share in ((None, 1.0), (7 * 10**8, 0.1)):
        source = FilesSource(listing(files), (Part("all"),), tokens=tokens)
        recipes = {
            "docs": replace(upstream, source=source),
            "python": replace(downstream, source=MegatronSource(parts)),
        }
        point.run = replace(point.run, recipes=recipes)
        size = corpora_to_make(plan([point]), tmp_path)
        assert size["corpora_bytes"] == pytest.approx(share * 8e9 * 3.5 / 4 * 2 + 1e6)
        assert size["fetch_bytes"] == pytest.approx(share * 8e9 + 1e6)  # what lies here is not fetched
    (usual,) = points_of("peak=1 seed=3")
    assert corpora_to_make(plan([usual]), tmp_path) == {"corpora_bytes": 0, "fetch_bytes": 0}


@pytest.mark.parametrize("remote", [True, False])
def test_a_large_corpus_that_is_made_only_to_be_measured_is_told(tmp_path: Path, remote: bool) -> None:
    """Upstream of a run from scratch without replay: no phase reads it, and all of it would be made."""
    place = "https://a" if remote else "/texts"
    held_out = listing([ListedFile("v.jsonl", 10**6, "etag v", f"{place}/v.jsonl")])
    train = listing([ListedFile("t.jsonl", 8 * 10**9, "etag t", f"{place}/t.jsonl")])
    source = FilesSource(train, (Part("all"),), held_out)
    pair = listing(
        [ListedFile("d.idx", 10**6, "", f"{place}/d.idx"), ListedFile("d.bin", 2 * 10**9, "", f"{place}/d.bin")]
    )

    def told(given: str, upstream: FilesSource | MegatronSource) -> list[str]:
        (point,) = points_of(f"peak=1 {given}")
        recipes, up = point.run.recipes, point.run.upstream
        key, own = recipes[up].key, replace(recipes[up], source=upstream)
        phases = tuple(
            replace(p, sources=tuple(replace(s, corpus=own.key) if s.corpus == key else s for s in p.sources))
            for p in point.program.phases
        )
        point.run = replace(point.run, recipes={**recipes, up: own})
        planned = plan([point])
        point.program = replace(point.program, phases=phases)
        lines = only_measured(planned, tmp_path)
        (tmp_path / "corpora" / own.folder).mkdir(parents=True)
        assert only_measured(planned, tmp_path) == [], "it is there already"
        (tmp_path / "corpora" / own.folder).rmdir()
        return lines

    cost = "4 GB, 8 GB to fetch" if remote else "4 GB"
    remedy = "corpus.docs.tokens=1M makes fewer, and is another corpus to tables"
    assert told("start=scratch", source) == [
        f"docs is only measured, yet made with 2B training tokens ({cost}): {remedy}"
    ]
    assert told("start=scratch replay=0.05", source) == []
    assert told("", source) == [], "the base was trained on it"
    assert told("start=scratch", replace(source, tokens=10**6)) == []
    lines = told("start=scratch", MegatronSource(pair, validation=held_out))
    assert [line.split(":")[0] for line in lines] == (
        ["docs is only measured, yet made with 1B training tokens (2 GB, 2 GB to fetch)"] if remote else []
    )
