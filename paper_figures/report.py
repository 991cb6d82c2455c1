"""The report of the reproduction on one page: what the papers claim with a verdict on each, the figures with their
numbers, and where all of it comes from.

    write(Path("report.html"), drawn, notes)          # what `paper_figures.drawing.draw` gives

Claims are judged from the committed tables (`analysis.claims`), also where the figures are of a store.
`analysis.report.page` writes the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.claims.claim import FIRST
from analysis.claims.claims import CLAIMS
from analysis.claims.command import SCALE, committed, verdicts_of
from analysis.claims.page import SHORT, counts, tally, what_was_found
from analysis.claims.verdict import PILOT, Verdict
from analysis.measures.rules import Part
from analysis.report.blocks import Block, Details, Heading, Image, Items, Line, Link, Page, Table, Text
from analysis.report.page import write_page
from paper_figures import provenance
from paper_figures.drawing import Drawn
from paper_figures.numbers import numbers_table
from paper_figures.provenance import separated

TITLE = "Rewarm: what three papers on continual pre-training claim, and what runs say"
ENDS = (
    "Final losses in nats per token, mean ± standard deviation over seeds: U of upstream, V of downstream data. "
    "Forgetting: U less that of the base; adaptation: the base's V less V."
)


def write(path: Path, drawn: Sequence[Drawn], notes: Sequence[str]) -> None:
    """Write the page, HTML or Markdown by its name; `notes` say what is missing. Raises InputError if it cannot."""
    tables = committed()
    verdicts, losses = verdicts_of(CLAIMS, tables)
    blocks = [
        *_contents(drawn),
        *claims_blocks(verdicts, losses, drawn),
        *_figures(drawn, notes),
        Heading("Where it comes from", 2, "provenance"),
        *provenance.blocks_of(
            [table.stem for table in tables],
            {table.stem: [_to_figure(one) for one in drawn if table.stem in one.tables] for table in tables},
        ),
    ]
    write_page("--report", path, Page(TITLE, blocks))


def _contents(drawn: Sequence[Drawn]) -> list[Block]:
    figures = ["Figures: " if drawn else "Figures", *separated([_to_figure(one) for one in drawn])]
    return [Items([Link("Claims", "claims"), figures, Link("Where it comes from", "provenance")])]


# Claims


def claims_blocks(verdicts: Sequence[Verdict], losses: str, drawn: Sequence[Drawn]) -> list[Block]:
    """A row a claim with its verdict, linked to the figures that show it; folded: its rule, and every test. `losses`:
    what final losses are of."""
    first, *changed = counts(verdicts)
    pilot = f"{PILOT[0]} to {PILOT[-1]}"
    about = [
        "Each claim has a statistic, a rule and a number of seeds, fixed before the runs that verdicts are of: the "
        f"committed ones of scale {SCALE}, seeds from {FIRST} on. Seeds {pilot} are a pilot, which settles nothing.",
        "Reproduced: the interval lies on the claimed side, or, of what is claimed to be equal or no worse, within a "
        "margin delta. Contradicted: on the other side. Inconclusive: neither. Not testable: runs are lacking. "
        f"{losses[0].upper()}{losses[1:]}.",
    ]
    about += [] if all(one.tables for one in drawn) else ["The figures below are of a store, the verdicts are not."]
    without = changed or ["No verdict rests on seeds yet, so that none was asked again with one of them left out"]
    header = ("claim", "verdict", "what is claimed", "what was found, or what is missing", "figures", "paper")
    rows: list[list[Line]] = [
        [
            one.claim.id,
            one.verdict,
            one.claim.claim,
            found(one),
            separated([_to_figure(figure) for figure in drawn if one.claim.id in figure.claims]) or "-",
            one.claim.paper,
        ]
        for one in verdicts
    ]
    return [
        Heading("Claims", 2, "claims"),
        Text(f"{first}. {without[0][0].upper()}{without[0][1:]}."),
        *map(Text, about),
        Table(header, rows, (), "claims", [_anchor(one.claim.id) for one in verdicts]),
        Details("What settles each claim", [_rules(verdicts)]),
        *_tests(verdicts),
    ]


def found(one: Verdict) -> str:
    """Effect, interval and seeds of what a verdict hangs on, and why; or what is missing."""
    if one.settled is None:
        tests = [f"{whose}: {tally(parts)}" for whose, parts in (("tests", one.parts), ("pilot", one.pilot)) if parts]
        return "; ".join([f"missing: {one.why}", *tests])
    why = one.why.removeprefix(one.settled.contrast.name).removeprefix("; ")
    return "; ".join(filter(None, [*what_was_found(one), why]))


def _rules(verdicts: Sequence[Verdict]) -> Table:
    header = ("claim", "statistic", "rule", "seeds", "what trains its runs")
    rows = [
        (
            Link(one.claim.id, _anchor(one.claim.id)),
            one.claim.statistic,
            one.claim.rule,
            "all" if one.claim.of_laws else str(one.claim.seeds),
            one.claim.command or "-",
        )
        for one in verdicts
    ]
    return Table(header, rows, (3,), "rules")


def _tests(verdicts: Sequence[Verdict]) -> list[Block]:
    """Every test of every claim, also of the pilot; and what is printed beside verdicts."""
    header = ("claim", "of", "test", "outcome", "difference", "interval", "delta", "could tell", "takes")
    rows: list[list[Line]] = [
        [Link(one.claim.id, _anchor(one.claim.id)), *_test(part, whose)]
        for one in verdicts
        for parts, whose in ((one.parts, ""), (one.pilot, "pilot, "))
        for part in parts
    ]
    told = [f"{one.claim.id}: {text}" for one in verdicts for text in one.beside]
    told += [f"{one.claim.id}: {part.contrast.note}" for one in verdicts for part in one.parts if part.contrast.note]
    about = (
        "Differences, paired by seed and in nats where they are of seeds, with the interval that the rule asks for; "
        "delta: the margin of what is claimed to be equal or no worse; could tell: the effect that so many seeds tell "
        "with a probability of .8; takes: seeds that would tell this one."
    )
    table = Table(header, rows, range(4, len(header)), "tests")
    return [Details(f"Every test ({len(rows)})", [Text(about), table, *([Items(told)] if told else [])])]


def _test(part: Part, whose: str) -> list[str]:
    contrast, (low, high) = part.contrast, part.interval
    return [
        f"{whose}{contrast.n} {contrast.unit}",
        contrast.name,
        SHORT[part.verdict],
        f"{contrast.mean:+.4f}",
        f"{low:+.4f} to {high:+.4f} ({part.level:.0%})",
        "-" if part.margin is None else f"{part.margin:.3f}",
        f"{part.could_tell:.3g}",
        "thousands" if part.needed is None else str(part.needed),
    ]


# Figures


def _figures(drawn: Sequence[Drawn], notes: Sequence[str]) -> list[Block]:
    blocks: list[Block] = [Heading("Figures", 2, "figures"), *([Items(notes)] if notes else [])]
    for one in drawn:
        claims = separated([Link(name, _anchor(name)) for name in one.claims])
        tables = separated([Link(f"{name}.csv", f"table-{name}") for name in one.tables])
        source = [", drawn from ", *tables] if tables else []
        table = numbers_table(one.rows, f"numbers of {one.name}")
        blocks += [
            Heading(one.title, 3, f"figure-{one.name}"),
            Image(one.name, one.caption, one.image.read_bytes(), one.shows),
            Text([one.name, *source, "; it shows the claims " if claims else "", *claims, "."]),
            Details(f"Numbers ({len(table.rows)} arms)", [Text(ENDS), table]),
        ]
    return blocks


def _to_figure(one: Drawn) -> Link:
    return Link(one.name, f"figure-{one.name}")


def _anchor(claim: str) -> str:
    return f"claim-{claim}"
