"""What a plan says that it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.files import seal
from harness.plan.cost import GPUS, MFU, corpora_to_make, flops_of, only_measured, totals
from harness.plan.plan import Plan, plan
from harness.program.shape import flops_per_token
from harness.report import total_lines
from harness.texts.listed import FilesSource, ListedFile, Listing, MegatronSource, Part, listing
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
        return float(corpora_to_make(plan([point]), tmp_path)["corpora_bytes"]) / 5e8

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
    nothing = {"corpora_bytes": 0, "fetch_bytes": 0, "corpora_not_listed": [], "corpora_without_size": []}
    assert corpora_to_make(plan([usual]), tmp_path) == nothing


HELD_OUT = listing([ListedFile("v.jsonl", 10**6, "etag v", "https://a/v.jsonl")])
LARGE = listing([ListedFile("t.jsonl", 8 * 10**9, "etag t", "https://a/t.jsonl")])
PAIR = listing(
    [ListedFile("d.idx", 10**6, "", "https://a/d.idx"), ListedFile("d.bin", 2 * 10**9, "", "https://a/d.bin")]
)
UNLISTED = Listing("not listed 0123")


def upstream_of(given: str, source: FilesSource | MegatronSource) -> Plan:
    """The plan of a run whose upstream is of `source`."""
    (point,) = points_of(f"peak=1 {given}")
    recipes, up = point.run.recipes, point.run.upstream
    key, own = recipes[up].key, replace(recipes[up], source=source)
    phases = tuple(
        replace(p, sources=tuple(replace(s, corpus=own.key) if s.corpus == key else s for s in p.sources))
        for p in point.program.phases
    )
    point.run = replace(point.run, recipes={**recipes, up: own})
    planned = plan([point])
    point.program = replace(point.program, phases=phases)
    return planned


@pytest.mark.parametrize("source", [FilesSource(LARGE, (Part("all"),)), MegatronSource(PAIR)])
def test_of_a_corpus_that_is_only_measured_its_own_validation_is_made(
    tmp_path: Path, source: FilesSource | MegatronSource
) -> None:
    """Upstream of a run from scratch without replay: no phase reads it."""
    own, text = replace(source, validation=HELD_OUT), 1e6 / 4 * 2
    whole = 4e9 if isinstance(source, FilesSource) else 2.001e9
    fetched = 8e9 if isinstance(source, FilesSource) else 2.001e9
    for given in ("start=scratch replay=0.05", ""):  # the second: the base was trained on it
        size = corpora_to_make(upstream_of(given, own), tmp_path)
        assert size["corpora_bytes"] == pytest.approx(whole, rel=1e-3)
        assert size["fetch_bytes"] == pytest.approx(fetched, rel=1e-3)
    measured = upstream_of("start=scratch", own)
    size = corpora_to_make(measured, tmp_path)
    assert size["corpora_bytes"] in (text, 1e6)  # as tokens, or as the file that is fetched
    assert size["fetch_bytes"] == 1e6
    assert only_measured(measured, tmp_path) == []


def test_a_large_corpus_that_is_made_whole_only_to_be_measured_is_told(tmp_path: Path) -> None:
    """Its validation is cut out of all its texts."""
    source = FilesSource(LARGE, (Part("all"),))
    remedy = "with files of its own to validate on (corpus.docs.validation=) those alone are read"
    told = "docs is only measured, on a share of its texts, and so made"
    fewer = "; corpus.docs.tokens=1M makes fewer, as another corpus"
    measured = upstream_of("start=scratch", source)
    assert only_measured(measured, tmp_path) == [f"{told} with 2B tokens (4 GB, 8 GB to fetch): {remedy}{fewer}"]
    assert only_measured(upstream_of("start=scratch", MegatronSource(PAIR)), tmp_path) == [
        f"{told} with 1B tokens (2 GB, 2 GB to fetch): {remedy}"
    ]
    assert only_measured(upstream_of("start=scratch", FilesSource(UNLISTED, (Part("all"),))), tmp_path) == [
        f"{told} whole, however large (it is not listed yet): {remedy}{fewer}"
    ]
    assert only_measured(upstream_of("start=scratch", replace(source, tokens=10**6)), tmp_path) == []
    assert only_measured(upstream_of("start=scratch replay=0.05", source), tmp_path) == []
    assert only_measured(upstream_of("", source), tmp_path) == [], "the base was trained on it"
    made = tmp_path / "corpora" / measured.points[0].run.recipes["docs"].folder
    made.mkdir(parents=True)
    (made / "manifest.json").write_bytes(seal({"splits": {"train": {}, "validation": {}}}))
    assert only_measured(measured, tmp_path) == [], "it is there already"


def test_of_what_is_not_listed_a_plan_says_at_least(tmp_path: Path) -> None:
    def told(source: FilesSource) -> str:
        document = corpora_to_make(upstream_of("", source), tmp_path)
        return total_lines({**totals(plan(points_of("peak=1"))), **document})[-1]

    unlisted, listed_one = FilesSource(UNLISTED, (Part("all"),)), FilesSource(LARGE, (Part("all"),))
    assert told(listed_one) == "corpora to make: about 4 GB of tokens, 8 GB to fetch"
    assert told(unlisted) == "corpora to make: of a size not known (not listed yet: docs)"
    budget = "corpora to make: about 600 GB of tokens (not listed yet: docs)"
    assert told(replace(unlisted, tokens=300 * 10**9)) == budget
    both = "corpora to make: at least 4 GB of tokens, at least 8 GB to fetch (not listed yet: docs)"
    assert told(replace(listed_one, validation=UNLISTED)) == both


def test_parts_of_a_corpus_count_what_their_units_take_once(tmp_path: Path) -> None:
    """Domain by domain is as much as the whole; one part alone takes the texts of all."""
    parts = tuple(Part(name, weight, (("set", (name,)),)) for name, weight in (("a", 0.75), ("b", 0.25)))
    whole = FilesSource(LARGE, parts, tokens=10**9)
    alone = [
        replace(whole, parts=(replace(part, weight=None),), tokens=int(1e9 * (part.weight or 0)), cut_for=parts)
        for part in parts
    ]

    def size(*sources: FilesSource) -> tuple[float, float]:
        (point,) = points_of("peak=1")
        own = point.run.recipes["docs"]
        recipes = {str(n): replace(own, source=source) for n, source in enumerate(sources)}
        point.run = replace(point.run, recipes=recipes)
        planned = plan([point])
        point.program = replace(
            point.program,
            phases=tuple(
                replace(phase, sources=tuple(replace(phase.sources[0], corpus=r.key) for r in recipes.values()))
                for phase in point.program.phases
            ),
        )
        found = corpora_to_make(planned, tmp_path)
        return found["corpora_bytes"], found["fetch_bytes"]

    expected = pytest.approx((2e9, 4e9))
    for sources in ((whole,), alone[:1], alone[1:], (*alone, whole)):
        assert size(*sources) == expected
