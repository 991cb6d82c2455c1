"""The documentation is true: its blocks run, the output it shows is printed, and what it names exists."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.core.shipped import CONF
from tests.blocks import KINDS, RUN, Bench, Block, blocks, working_in
from tests.repository import REPOSITORY
from tests.slurm.cluster import queue, until
from tests.test_structure import NAMES as ROOM_NAMES

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
PAGES = [page for page in PAGES if page.exists()]
NAMES = [page.relative_to(REPOSITORY).as_posix() for page in PAGES]
ROOMS = ("harness", "analysis", "paper_figures", "conf", "sweeps", "docs", "benchmarks", "tests")
LONGEST = 110  # columns of a command that a page shows: longer ones are cut off in a narrow window


def kinds(page: Path) -> set[str]:
    return {block.kind for block in blocks(page)}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    """A checkpoint as a hub serves it: a tiny Llama with a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.corpora import tokenizer

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=320,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    read = (file.read_text() for file in sorted(texts.rglob("*.txt")))
    tokenizer.train(read, 300).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def bench(tmp_path: Path, texts: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A folder as a user's: texts/, model/, the sweep files and some tables, no store yet."""
    shutil.copytree(texts, tmp_path / "texts")
    shutil.copytree(model, tmp_path / "model")
    for folder in ("sweeps", "analysis/notebooks/data", "paper_figures/data"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with working_in(tmp_path):
        yield Bench(tmp_path)


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_is_marked(page: Path) -> None:
    for block in blocks(page):
        assert block.language, f"{block}: no language"
        assert block.kind in KINDS, f"{block}: mark it as one of {', '.join(KINDS)}: <!-- block: fast -->"
        if block.language in RUN:
            assert block.kind in ("fast", "slow", "plan", "slurm", "file"), f"{block}: commands that are not run"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_blocks_run(page: Path, bench: Bench) -> None:
    """The fast ones and those that are planned only, in order; what a cluster would do is planned."""
    skipped = False
    for block in blocks(page):
        if block.kind == "output" and skipped:
            continue
        skipped = block.kind == "slow"
        if not skipped:
            bench.run(block, plan=block.kind in ("plan", "slurm"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if "slow" in kinds(page)])
def test_the_slow_blocks_run(page: Path, bench: Bench) -> None:
    """All blocks of the pages that have slow ones, since one builds on another."""
    for block in blocks(page):
        bench.run(block, plan=block.kind in ("plan", "slurm"))


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.parametrize("page", [page for page in PAGES if "slurm" in kinds(page)])
@pytest.mark.usefixtures("box")
def test_the_blocks_for_a_cluster_run(page: Path, bench: Bench) -> None:
    """Submitted as the page says, they end, and the same commands find all done."""
    told = [block for block in blocks(page) if block.kind in ("file", "slurm")]
    for block in told:
        bench.run(block, plan=False, on_cluster=True)
    until(lambda: not queue())
    for block in told:
        bench.run(block, plan=False, on_cluster=True)
        assert "all done, nothing to train" in bench.printed, str(block)


# --- what the pages name ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = prose(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+://|mailto:", target):
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    pattern = rf"(?<![\w./<-])((?:{'|'.join(ROOMS)})/[\w./*-]*)"
    named = {name for code in re.findall(r"`([^`\n]+)`", prose(page)) for name in re.findall(pattern, code)}
    missing = [name for name in sorted(named) if not any(REPOSITORY.glob(name.rstrip("./")))]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_keys_that_a_page_names_exist(page: Path) -> None:
    known, groups = keys(), {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        for key in re.findall(r"(?<![\w./-])([a-z]+\.[a-z_]+)(?![\w./(*-])", code):
            if key.split(".")[0] in {*groups, "base", "batch", "corpus"} and not key.endswith(".safetensors"):
                assert key in known, key
        for group, choice in re.findall(r"(?<![\w./-])([a-z]+)=([a-z][\w.-]*)(?![\w/])", code):
            if group in groups and choice not in ("null", "ours"):
                pair = choice.split("_to_") if group == "shift" else []  # of any two corpora
                files = [f"corpus/{name}" for name in pair] if len(pair) == 2 else [f"{group}/{choice}"]
                assert all((CONF / f"{file}.yaml").exists() for file in files), f"{group}={choice}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_flags_and_targets_that_a_page_names_exist(page: Path) -> None:
    """Outside of blocks, which are run."""
    packages = ("harness", "analysis", "paper_figures", "benchmarks")
    code = "".join(file.read_text(encoding="utf-8") for name in packages for file in (REPOSITORY / name).rglob("*.py"))
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for text in re.findall(r"`([^`\n]+)`", prose(page)):
        flags = [] if re.match(r"iconv|chmod|ip |tail|du ", text) else re.findall(r"(?<!\S)--[a-z][a-z-]+", text)
        unknown = [flag for flag in flags if flag not in code and flag not in ("--help", "--keys")]
        unknown += [t for t in re.findall(r"\bmake ([a-z-]+)", text) if not re.search(rf"(?m)^{t}:", makefile)]
        assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_narrow_window_shows_all_of_it(page: Path) -> None:
    shown = [block for block in blocks(page) if block.kind not in ("output", "picture", "patch")]
    long = [f"{block}: {line}" for block in shown for line in block.text.splitlines() if len(line) > LONGEST]
    assert not long


def test_the_readme_maps_the_rooms_that_there_are() -> None:
    """Each with a line, from the top of the column to its bottom."""
    mapped = re.findall(r"(?m)^\| `([\w/]+)` \|", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert mapped == [name.replace(".", "/") for name in ROOM_NAMES if name not in ("harness", "analysis")]


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = read_yaml(REPOSITORY / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["authors"][0]["name"] in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert f"## {project['version']}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_messages_that_troubleshooting_explains_are_ones_that_come() -> None:
    page = REPOSITORY / "docs" / "troubleshooting.md"
    code = "".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "harness").rglob("*.py"))
    rows = re.findall(r"(?m)^\| ([^|]*`[^|]*) \|", page.read_text(encoding="utf-8").split("## Questions")[0])
    assert len(rows) > 10
    quoted = [part for row in rows for quote in re.findall(r"`([^`]+)`", row) for part in quote.split("...")]
    unknown = [part for part in quoted if len(part) > 5 and part.strip() not in code]
    assert not unknown


def prose(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"(?ms)^```.*?^```[ \t]*$", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What headings are called in links, as GitHub makes it."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def keys() -> frozenset[str]:
    """Every key that some choice of the groups has."""
    found = set(fields(read_yaml(CONF / "config.yaml")))
    for file in CONF.glob("*/*.yaml"):
        own = fields(read_yaml(file))
        found.update(own if file.parent.name == "scale" else (f"{file.parent.name}.{key}" for key in own))
    return frozenset(found)


def fields(config: dict[str, Any], prefix: str = "") -> list[str]:
    """All dotted keys of a config."""
    inner = [fields(value, f"{prefix}{key}.") for key, value in config.items() if isinstance(value, dict)]
    return [f"{prefix}{key}" for key in config] + [key for keys_ in inner for key in keys_]


def read_yaml(file: Path) -> dict[str, Any]:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document if isinstance(document, dict) else {}


def test_a_block_can_fail(bench: Bench) -> None:
    """The machinery itself: a wrong status, an output that is not printed, an unknown key."""
    bad = Block("page", 1, "sh", "python -m harness lrr=1\n", ("plan",))
    with pytest.raises(AssertionError, match="status 2"):
        bench.run(bad, plan=True)
    bench.run(Block("page", 1, "sh", bad.text, ("plan", "status", "2")), plan=True)
    bench.run(Block("page", 2, "text", "error: lrr=1: ... did you mean lr?\n", ("output",)), plan=True)
    with pytest.raises(AssertionError, match="not what is printed"):
        bench.run(Block("page", 3, "text", "all done\n", ("output",)), plan=True)
