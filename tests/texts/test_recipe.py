"""What a user relies on: a corpus is known by what it holds, before anything is read or built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.texts import recipe
from harness.texts.recipe import embedded, local
from tests.repository import REPOSITORY


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def tokenizer_file(path: Path, **changes: object) -> Path:
    described = {"added_tokens": [{"id": 2, "content": "<|endoftext|>"}], "model": {"vocab": {"a": 0, "b": 1}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(described | changes))
    return path


def test_embedded_key_says_what_changes_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    key = embedded("docs").key
    assert len(key) == 32
    assert int(key, 16) >= 0
    assert embedded("docs").key == key
    others = [embedded("python"), embedded("docs", sample=0.5), embedded("docs", vocab_size=4096)]
    others.append(embedded("docs", validation=0.1))
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    others.append(embedded("docs"))
    monkeypatch.undo()
    monkeypatch.setattr(recipe, "CORPUS_CODE", recipe.CORPUS_CODE + 1)
    others.append(embedded("docs"))
    monkeypatch.undo()
    monkeypatch.setattr(recipe, "installed_packages", lambda: ("numpy 0.0",))
    others.append(embedded("docs"))
    assert len({key, *(other.key for other in others)}) == 1 + len(others)


def test_default_sample_is_the_sample_said_out_loud() -> None:
    assert embedded("docs").key == embedded("docs", sample=recipe.DEFAULT_SAMPLE["docs"]).key


def test_unknown_corpus_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"corpus=pyton: .*did you mean python\?"):
        embedded("pyton")


@pytest.mark.parametrize("sample", [0, -0.1, 1.5, float("nan")])
def test_sample_must_be_a_share(sample: float) -> None:
    with pytest.raises(InputError, match=r"corpus\.sample"):
        embedded("docs", sample=sample)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.installed_packages.cache_clear()
    monkeypatch.setattr(recipe, "PACKAGES", ("numpy", "no-such-package"))
    with pytest.raises(InputError, match=r"no-such-package.*pip install"):
        embedded("docs")


def test_local_key_is_the_content_in_reading_order(tmp_path: Path) -> None:
    here = write(tmp_path / "here", a="one", b="two")
    key = local("upstream", here).key
    there = write(tmp_path / "elsewhere" / "deeper", k="one", l="two")
    assert local("general", there).key == key, "neither paths nor names enter"
    assert local("upstream", write(tmp_path / "swapped", a="two", b="one")).key != key
    assert local("upstream", write(tmp_path / "changed", a="one", b="two!")).key != key
    assert local("upstream", here, text="body").key != key
    (here / "b.txt").rename(here / "b.csv")
    assert local("upstream", here).key != key, "the format says how the same bytes are read"


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", a="one")
    before = local("upstream", folder).key
    write(folder, a="1ne")
    assert local("upstream", folder).key != before


def test_companions_share_one_tokenizer_whatever_their_order(tmp_path: Path) -> None:
    up, down = write(tmp_path / "up", a="one"), write(tmp_path / "down", a="two")
    both, swapped = {"upstream": up, "downstream": down}, {"downstream": down, "upstream": up}
    first, second = local("upstream", up, companions=both), local("downstream", down, companions=swapped)
    assert first.tokenizer.trained_on == second.tokenizer.trained_on
    assert first.key != second.key
    assert local("upstream", up).key != first.key, "trained on other text, so other tokens"
    same = local("upstream", up, companions={"upstream": up, "downstream": shutil.copytree(up, tmp_path / "copy")})
    assert same.key == local("upstream", up).key


def test_given_tokenizer_counts_by_content(tmp_path: Path) -> None:
    data = write(tmp_path / "data", a="one")
    file = tokenizer_file(tmp_path / "first" / "tokenizer.json")
    given = local("upstream", data, tokenizer=file)
    assert (given.vocab_size, given.tokenizer.end_of_document) == (3, "<|endoftext|>")
    copy = tokenizer_file(tmp_path / "second" / "tokenizer.json")
    assert local("upstream", data, tokenizer=copy.parent, companions={"x": data}).key == given.key
    other = tokenizer_file(copy, added_tokens=[{"id": 7, "content": "</s>"}])
    changed = local("upstream", data, tokenizer=other)
    assert changed.key != given.key
    assert (changed.vocab_size, changed.tokenizer.end_of_document) == (8, "</s>")


def test_end_of_document_is_the_one_the_tokenizer_was_published_with(tmp_path: Path) -> None:
    tokens = [{"id": 2, "content": "<|endoftext|>"}, {"id": 3, "content": "<stop>"}]
    file = tokenizer_file(tmp_path / "tokenizer.json", added_tokens=tokens)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<stop>"}}))
    assert recipe.given_tokenizer(file).end_of_document == "<stop>"


@pytest.mark.parametrize(
    "content", ["garbage", "{}", "[]", '{"model": {"vocab": {}}}', '{"model": {"vocab": {"a": 0}}}']
)
def test_not_a_tokenizer(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"^tokenizer="):
        recipe.given_tokenizer(file)


def test_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^tokenizer=.*no tokenizer\.json"):
        recipe.given_tokenizer(tmp_path)


def test_bad_places_name_the_field(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^downstream=.*no such file or folder"):
        local("downstream", tmp_path / "missing")
    with pytest.raises(InputError, match=r"^downstream=.*empty folder"):
        local("downstream", write(tmp_path / "empty"))
    (write(tmp_path / "odd", a="one") / "b.docx").write_text("x")
    with pytest.raises(InputError, match=r"^upstream=.*b\.docx: unknown suffix '\.docx'; known are \.jsonl"):
        local("upstream", tmp_path / "odd")
    with pytest.raises(InputError, match=r"^downstream="):
        local("upstream", write(tmp_path / "fine", a="one"), companions={"downstream": tmp_path / "missing"})
    with pytest.raises(InputError, match="not a name"):
        local("../up", tmp_path)


def test_markers_of_other_tools_are_no_data(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", a="one")
    key = local("upstream", folder).key
    (folder / "_SUCCESS").write_text("")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "b.txt").write_text("two")
    assert local("upstream", folder).key == key


def test_vocabulary_and_validation_share_are_checked(tmp_path: Path) -> None:
    data = write(tmp_path / "data", a="one")
    with pytest.raises(InputError, match=r"corpus\.vocab_size=256"):
        local("upstream", data, vocab_size=256)
    with pytest.raises(InputError, match=r"^validation=1"):
        local("upstream", data, validation=1)


def test_planning_needs_no_heavy_library() -> None:
    code = (
        "import sys; from harness.texts import recipe; recipe.embedded('docs').key;"
        "heavy = {'torch', 'tokenizers', 'pyarrow', 'numpy', 'transformers', 'datasets'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


def test_corpora_may_have_their_texts_in_columns_of_their_own(tmp_path: Path) -> None:
    """They share a tokenizer that reads each in its own; one column for all leaves keys as they were."""
    up, down = write(tmp_path / "up", a="one"), write(tmp_path / "down", a="two")
    both = {"upstream": up, "downstream": down}
    mixed = {"upstream": "text", "downstream": "body"}
    first = local("upstream", up, companions=both, texts=mixed)
    second = local("downstream", down, text="body", companions=both, texts=mixed)
    assert first.tokenizer == second.tokenizer
    assert {(name, column) for name, _, column in first.tokenizer.companions} == {*mixed.items()}
    other = local("upstream", up, companions=both, texts={**mixed, "downstream": "title"})
    assert other.key != first.key, "its tokenizer is trained on other text"
    alike = local("upstream", up, text="body", companions=both)
    assert local("upstream", up, text="body", companions=both, texts=dict.fromkeys(both, "body")).key == alike.key
