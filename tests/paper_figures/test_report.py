"""The report: every claim, linked to what shows it, with the numbers of the runs, on a page that a browser shows."""

from __future__ import annotations

import html
import importlib
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.claims.claims import CLAIMS
from analysis.claims.verdict import Verdict, judge
from analysis.measures import rules
from analysis.measures.arms import ends_by_run
from analysis.measures.contrast import Contrast
from paper_figures import data, drawing, numbers, provenance, report
from paper_figures.__main__ import FIGURES, main
from paper_figures.drawing import Drawn
from tests.chromium import Browser, executable
from tests.report.test_page import HOSTILE, Reader

NAMES = ("rewarm_fig1", "rewarm_fig5")


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    """Of committed runs, R1 and S1 as if there were seeds enough."""
    found = judge(data.frozen("rewarm_warmup").table)
    part = rules.sign(Contrast("docs to python: V of w1 less no decay", np.array([-0.21, -0.2, -0.22])), -1)
    settled = {
        "R1": (rules.REPRODUCED, "docs to python: V of w1 less no decay", 0),
        "S1": (rules.CONTRADICTED, "docs to python: V of w1 less no decay; 1 of 2 differences are small", 2),
    }
    for k, one in enumerate(found):
        if one.claim.id in settled:
            verdict, why, changes = settled[one.claim.id]
            found[k] = replace(one, verdict=verdict, why=why, changes=changes, parts=(part,), p_adjusted=0.01)
    return found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Drawn]:
    return drawing.draw(NAMES, None, tmp_path_factory.mktemp("drawn"), required=True)[0]


@pytest.fixture
def page(tmp_path: Path, verdicts: list[Verdict], monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Drawn]], str]:
    """Writes the page with these figures, and reads it."""

    def written(figures: list[Drawn], found: list[Verdict] = verdicts) -> str:
        monkeypatch.setattr(report, "verdicts_of", lambda *_: (found, "final losses: all"))
        report.write(tmp_path / "page.html", figures, [])
        return (tmp_path / "page.html").read_text()

    return written


def row(text: str, anchor: str) -> str:
    found = re.search(rf'<tr id="{anchor}">(.*?)</tr>', text, re.DOTALL)
    assert found is not None, anchor
    return found[1]


def test_every_claim_has_a_row_and_links_lead_somewhere(
    page: Callable[[list[Drawn]], str], drawn: list[Drawn], verdicts: list[Verdict]
) -> None:
    text = page(drawn)
    tags = Reader(text).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    links = [attributes["href"] or "" for tag, attributes in tags if tag == "a"]
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in links} <= set(ids)
    for one in verdicts:
        cells = html.unescape(row(text, f"claim-{one.claim.id}"))
        assert {one.claim.id, one.claim.claim, one.verdict, one.claim.paper} <= set(re.findall(r">([^<]*)<", cells))
    assert [one.claim.id for one in verdicts] == [claim.id for claim in CLAIMS]
    assert 'href="#figure-rewarm_fig1"' in row(text, "claim-R2")
    assert "href" not in row(text, "claim-D1")
    shown = text[text.index('id="figure-rewarm_fig1"') : text.index('id="figure-rewarm_fig5"')]
    assert all(f'href="#{name}"' in shown for name in ("claim-R1", "claim-R2", "table-rewarm_warmup"))
    assert "python -m paper_figures --freeze rewarm_warmup" in text
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_a_verdict_stands_with_its_interval_and_others_with_what_is_missing(
    page: Callable[[list[Drawn]], str], drawn: list[Drawn]
) -> None:
    text = page(drawn)
    assert "28 claims: 26 not testable, 1 reproduced, 1 contradicted" in text
    assert "Leaving out one seed gives another verdict for 1 of 2 of them." in text
    found = row(text, "claim-S1")
    assert "V of w1 less no decay: -0.2100 (-0.2348 to -0.1852, 95%, 3 seeds)" in found  # 4.303 · .01 / √3
    assert found.count("V of w1 less no decay") == 1
    assert "; 2 verdicts without one seed are others; 1 of 2 differences are small" in found
    assert "missing: no runs of seeds from 10 on" in row(text, "claim-D1")
    assert "a store" not in text
    assert "The figures below are of a store" in page([replace(drawn[0], tables=())])


def test_numbers_are_those_of_the_runs(page: Callable[[list[Drawn]], str], drawn: list[Drawn]) -> None:
    found, knobs = numbers.by_arm(drawn[0].rows)
    ends = ends_by_run(drawn[0].rows)
    assert knobs == ["warmup"]
    assert found.warmup.tolist() == [0.0, 0.005, 0.01, 0.02]
    text = page(drawn)
    for _, arm in found.iterrows():
        runs = ends[np.isclose(ends.warmup, arm.warmup)]
        forgetting, adaptation = runs.U - runs.U_base, runs.V_base - runs.V
        for name, values in {"U": runs.U, "V": runs.V, "forgetting": forgetting, "adaptation": adaptation}.items():
            assert arm[name] == pytest.approx(np.mean(values))
            assert arm[f"sd {name}"] == pytest.approx(np.std(values, ddof=1))
        assert arm.n == len(runs) == 3
        told = f"{np.mean(forgetting):+.4f} ± {np.std(forgetting, ddof=1):.4f}"
        assert f"<td class='number'>3</td><td class='number'>{arm.U:.4f} ± {arm['sd U']:.4f}</td>" in text
        assert f"<td class='number'>{told}</td>" in text


def test_arms_are_told_apart_by_all_that_differs(drawn: list[Drawn]) -> None:
    rows = data.frozen("demo").table
    found, knobs = numbers.by_arm(rows)
    assert knobs == ["start", "shift", "schedule", "peak", "warmup", "replay"]
    assert found.n.tolist() == [3] * 16
    scratch = found[found.start == "scratch"].iloc[0]
    assert pd.notna(scratch.V)
    assert pd.isna(scratch.forgetting)
    same, same_knobs = numbers.by_arm(drawn[1].rows)  # upstream continued on itself: there is no V
    assert same_knobs == ["schedule", "peak"]
    assert same.forgetting.notna().all()
    assert same.V.isna().all()
    one_seed = numbers.numbers_table(rows[rows.seed == 1], "numbers")
    assert one_seed.header[-4:] == ["U (docs)", "V (python)", "forgetting", "adaptation"]
    assert not any("±" in str(cell) for cells in one_seed.rows for cell in cells)


def test_texts_are_shown_as_they_are(
    page: Callable[..., str], drawn: list[Drawn], verdicts: list[Verdict], tmp_path: Path
) -> None:
    bad = replace(drawn[0], caption=HOSTILE, title=HOSTILE, shows=HOSTILE)
    text = page([bad], [replace(verdicts[0], verdict=rules.UNTESTABLE, why=HOSTILE), *verdicts[1:]])
    assert "<script" not in text
    assert Reader(text).text.count(HOSTILE.replace("\n", " ")) == 3
    report.write(tmp_path / "page.md", [bad], [HOSTILE])
    assert "<script" not in (tmp_path / "page.md").read_text()


def test_equal_runs_are_an_equal_page(page: Callable[[list[Drawn]], str], drawn: list[Drawn], tmp_path: Path) -> None:
    again = drawing.draw(NAMES[1:], None, tmp_path / "again", required=True)[0]
    assert again[0].image.read_bytes() == drawn[1].image.read_bytes()
    assert b"<dc:date>" not in again[0].image.read_bytes()
    assert page(drawn[1:]) == page(again)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_what_it_shows(name: str) -> None:
    module = importlib.import_module(f"paper_figures.{name}")
    assert set(module.CLAIMS) <= {claim.id for claim in CLAIMS}
    assert len(set(module.CLAIMS)) == len(module.CLAIMS)
    assert module.__doc__


def test_where_tables_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = data.frozen("rewarm_checkpoints").measured.drop_duplicates("run")
    assert provenance.tokens_of_bases(runs) == 3 * 2_999_808  # 7 and 19 % of a base are points of it
    assert provenance.tokens_of_bases(runs[runs["at"] < 1]) == 3 * 569_856
    assert provenance.tokens_of_bases(data.frozen("peak_replay_answers").measured.drop_duplicates("run")) == 2_999_808
    assert provenance.seeds([10, 12, 11, 3, 3, 4]) == "3, 4, 10 to 12"
    monkeypatch.setattr(provenance, "CODE", tmp_path / "harness")  # no checkout
    assert provenance._commit() == ""
    assert provenance._commit_of("demo") == ""


# --- as browsers show it ---------------------------------------------------------------------------------------------

MEASURED = """(() => {
    const wide = [...document.querySelectorAll('main *')].filter(one => one.scrollWidth > one.clientWidth + 1
        && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX));
    const light = rgb => rgb.match(/[0-9.]+/g).slice(0, 3).map(c => c / 255)
        .map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, k) => sum + c * [.2126, .7152, .0722][k], .05);
    const back = light(getComputedStyle(document.body).backgroundColor);
    const texts = [...document.querySelectorAll('h1, p, a, td, th, figcaption, summary')];
    const ratios = texts.map(one => light(getComputedStyle(one).color)).map(c => Math.max(c, back) / Math.min(c, back));
    return {
        overflow: document.documentElement.scrollWidth - window.innerWidth,
        lost: [...document.links].filter(one => !document.getElementById(one.hash.slice(1))).map(one => one.href),
        broken: [...document.images].filter(one => !one.complete || one.naturalWidth < 100).map(one => one.alt),
        unnamed: [...document.images].filter(one => !one.alt).length,
        unreachable: wide.filter(one => one.tabIndex < 0 || !one.ariaLabel).length,
        wide: wide.length,
        contrast: Math.min(...ratios),
        dark: back < .2,
        figures: document.images.length,
    };
})()"""
OPENED = "document.querySelectorAll('details').forEach(one => { one.open = true })"


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """All figures and claims, at a desk and on a phone, light and dark, with all that can be unfolded, and printed."""
    if " " in (program := executable()):
        pytest.skip(program)
    page = tmp_path / "report.html"
    assert main(["--out", str(tmp_path / "figures"), "--report", str(page)]) == 0
    with Browser(program) as browser:
        for width, dark in ((1280, False), (1280, True), (390, False), (390, True)):
            browser.open(page, width=width, dark=dark)
            for _ in ("folded", "unfolded"):
                found = browser.value(MEASURED)
                assert found["overflow"] <= 0, width
                assert found["lost"] == found["broken"] == []
                assert found["unnamed"] == found["unreachable"] == 0
                assert found["contrast"] >= 4.5  # WCAG AA
                assert found["dark"] == dark
                assert found["figures"] == len(list((tmp_path / "figures").glob("*.svg"))) > 5
                assert found["wide"] > 0 or width > 600  # or the next assertions hold of nothing
                browser.value(OPENED)
            assert browser.complaints == []
        browser.open(page, width=390)
        browser.complaints.clear()
        browser.value("document.body.append(Object.assign(document.createElement('script'), {textContent: '1'}))")
        assert any("Content Security Policy" in text for text in browser.complaints)  # so it would have been heard
        browser.open(page, width=1280)
        browser.pdf(tmp_path / "report.pdf")
        assert len(re.findall(rb"/Type ?/Page\b", (tmp_path / "report.pdf").read_bytes())) > 5
