"""`text.upstream=`, `text.downstream=`: columns that differ are read, and what names no corpus is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.compose.compose import collect
from harness.config.run import Run, read_run
from harness.core.errors import InputError
from harness.texts.recipe import LocalSource


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for name, column in (("old", "text"), ("new", "content"), ("more", "body")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({column: f"the text of {name}"}) + "\n")
    return tmp_path


def run_of(texts: Path, *more: str) -> Run:
    names = ("", "") if "shift=local" in more else ("old=", "new=")
    called = [f"upstream={names[0]}{texts}/old.jsonl", f"downstream={names[1]}{texts}/new.jsonl", *more]
    (point,) = collect(called)
    return read_run(point.config)


def columns(run: Run) -> dict[str, str]:
    return {name: one.source.text for name, one in run.recipes.items() if isinstance(one.source, LocalSource)}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["shift=local", "text.downstream=content"], {"upstream": "text", "downstream": "content"}),
        (["text.downstream=content"], {"old": "text", "new": "content"}),
        (["text.new=content", "text.old=text"], {"old": "text", "new": "content"}),
        (["shift=local", "text={downstream: content, upstream: text}"], {"upstream": "text", "downstream": "content"}),
        (["shift=local", "text=content"], {"upstream": "content", "downstream": "content"}),
    ],
)
def test_each_corpus_has_its_column(texts: Path, more: list[str], expected: dict[str, str]) -> None:
    run = run_of(texts, *more)
    assert columns(run) == expected
    assert run.recipes[run.upstream].tokenizer == run.recipes[run.downstream].tokenizer


def test_a_further_corpus_has_its_column(texts: Path) -> None:
    sets = f"evaluate.sets=[more={texts}/more.jsonl]"
    run = run_of(texts, "text.downstream=content", "text.more=body", sets)
    assert columns(run) == {"old": "text", "new": "content", "more": "body"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["text.middle=body"],
            "text.middle=body: no texts that are given by a path are called so; known: text.old, text.new",
        ),
        (["text.downstream=3.5.1", "text.downstram=x"], "text.downstram=x: no texts that are given by a path"),
        (["text.downstream=null"], "text.downstream=None: not a name"),
        (["text.downstream=[a]"], "text.downstream=['a']: not a name"),
        (["text=[content]"], "not a name"),
    ],
)
def test_what_names_no_column_is_refused(texts: Path, more: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        run_of(texts, *more)
    assert message in str(caught.value)
