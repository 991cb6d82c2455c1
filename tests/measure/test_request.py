"""Where losses are measured: a grid that longer runs share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.config.run import Run
from harness.core.errors import InputError
from harness.core.identity import digest
from harness.measure.request import grid, measures_of, request, uneven
from harness.store.history import Measure
from harness.texts.listed import FilesSource, Part, listing
from tests.composed import points_of, run_of

BASE, STEP = 5859, 1172  # steps of the base and of continual pre-training at scale=mini


def test_measuring_is_on_a_fixed_grid() -> None:
    run = run_of("peak=1")
    (point,) = points_of("peak=1")
    positions = grid(run, point.spans[1])
    assert len(positions) == 13  # the base's end, and twelve of its own
    assert positions[0] == BASE
    assert positions[-1] == BASE + STEP
    longer = grid(run_of("tokens=2x"), points_of("tokens=2x")[0].spans[1])
    assert set(positions[:-1]) < set(longer)


def test_where_base_and_run_end_more_windows_are_measured_and_the_curves_stay() -> None:
    (point,) = points_of("peak=1")
    (before,) = points_of("peak=1 evaluate.final_windows=null")
    asked, curves = point.request, before.request
    more = {hash_: measure for hash_, measure in asked.measures.items() if measure.of_ends}
    assert {(m.corpus, m.windows, m.least) for m in more.values()} == {("docs", 1024, 64), ("python", 1024, 64)}
    assert asked.required == curves.required  # addresses and keys do not know of it
    assert asked.rows - curves.rows == {(at, hash_) for at in (BASE, BASE + STEP) for hash_ in more}
    assert curves.rows < asked.rows
    (scratch,) = points_of("start=scratch")
    assert {at for at, hash_ in scratch.request.rows if hash_ in more} == {STEP}
    (wider,) = points_of("peak=1 evaluate.windows=2000 evaluate.final_windows=2000")  # the same everywhere
    assert {m.windows for m in wider.request.measures.values()} == {2000}
    assert all(m.least == 2000 and not m.of_ends for m in wider.request.measures.values())


def weighted(run: Run, **weights: float | None) -> Run:
    """The run with its downstream made of parts."""
    parts = tuple(Part(name, weight) for name, weight in weights.items())
    own = run.recipes[run.downstream]
    return replace(run, recipes={**run.recipes, run.downstream: replace(own, source=FilesSource(listing(()), parts))})


def test_parts_drawn_by_weights_have_rows_of_their_own_on_the_windows_of_their_corpus() -> None:
    run = run_of("peak=1")
    mixed = weighted(run, CommonCrawl=0.52, C4=0.27, GitHub=0.21)
    measures = measures_of(mixed, {"docs", "python"})
    assert {name: measure.windows for name, measure in measures.items()} == {
        "docs": 64,
        "python": 64,
        "python.CommonCrawl": 33,
        "python.C4": 17,
        "python.GitHub": 14,
    }
    assert len({measure.hash for measure in measures.values()}) == 5
    (point,) = points_of("peak=1")
    own, before = request(mixed, point.spans), point.request
    parts = {measure.hash for measure in measures.values() if measure.part}
    assert {row for row in own.rows if row[1] in parts} <= own.wanted  # a run is done without them
    positions = {position for position, _ in own.rows}
    assert {row for row in own.rows if row[1] in parts} == {(p, h) for p in positions for h in parts}
    assert {position for position, _ in before.rows} == positions


def test_a_mixture_is_not_measured_without_one_of_its_parts() -> None:
    (point,) = points_of("peak=1")
    for windows in (1, 2):
        mixed = weighted(run_of("peak=1", f"evaluate.windows={windows}"), A=0.5, B=0.3, C=0.2)
        with pytest.raises(InputError, match=r"C of python would get no window.*give at least 3"):
            request(mixed, point.spans)
    mixed = weighted(run_of("peak=1", "evaluate.windows=3"), A=0.5, B=0.3, C=0.2)
    parts = {m.corpus: m.windows for m in request(mixed, point.spans).measures.values() if m.part and not m.of_ends}
    assert parts == {"python.A": 1, "python.B": 1, "python.C": 1}


def test_weights_of_a_measured_loss_that_are_not_the_mixtures_are_told() -> None:
    (line,) = uneven([weighted(run_of("peak=1", "evaluate.windows=4"), A=0.5, B=0.3, C=0.2)] * 2)
    assert "evaluate.windows=4: the loss of python" in line
    assert "0.25 in place of 0." in line
    assert uneven([weighted(run_of("peak=1", "evaluate.windows=10"), A=0.5, B=0.3, C=0.2)]) == []  # exact
    assert uneven([weighted(run_of("peak=1"), A=0.52, B=0.27, C=0.21)]) == []
    assert uneven([weighted(run_of("peak=1", "evaluate.windows=1"), A=None, B=None)]) == []


def test_parts_without_weights_are_measured_if_they_are_named() -> None:
    mixed = weighted(run_of("peak=1"), GitHub=None, C4=None)
    assert set(measures_of(mixed, {"docs", "python"})) == {"docs", "python"}
    named = measures_of(mixed, {"docs", "python", "python.C4"})
    assert (named["python.C4"].windows, named["python.C4"].part) == (64, "C4")
    several = measures_of(weighted(run_of("peak=1"), GitHub=0.5, C4=0.5), {"python", "python.C4"})
    assert {name: measure.windows for name, measure in several.items()} == {
        "python": 64,
        "python.C4": 64,
        "python.GitHub": 32,
    }


def test_a_measure_of_a_whole_corpus_has_the_hash_it_always_had() -> None:
    assert Measure("docs", "k" * 32, 64, 128).hash == digest("k" * 32, 64, 128)[:16]
    assert Measure("docs.C4", "k" * 32, 64, 128, "C4").hash != Measure("docs", "k" * 32, 64, 128).hash
