"""The shape of the repository: rooms, imports, sizes, and what no file may hold."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness.texts.recipe import PACKAGES
from tests.repository import REPOSITORY

# One column: a room imports only rooms below it. True: its modules may load torch, which takes seconds; the others must
# not, not even through what they import.
ROOMS = (
    ("paper_figures", False),
    ("analysis", False),  # __main__
    ("analysis.commands", False),
    ("analysis.claims", False),
    ("analysis.measures", False),
    ("analysis.forecasts", False),
    ("analysis.options", False),
    ("analysis.report", False),
    ("analysis.production", False),
    ("analysis.decide", False),
    ("analysis.design", False),
    ("analysis.figures", False),
    ("analysis.answers", False),
    ("analysis.fitting", False),
    ("analysis.results", False),
    ("analysis.laws", False),
    ("analysis.formulas", False),
    ("harness", False),  # the commands, and cli, report, launch
    ("harness.answering", False),
    ("harness.upkeep", False),
    ("harness.slurm", False),
    ("harness.workers", False),
    ("harness.train", True),
    ("harness.plan", False),
    ("harness.exported", False),
    ("harness.measure", True),
    ("harness.compose", False),
    ("harness.config", False),
    ("harness.ingest", False),
    ("harness.corpora", True),
    ("harness.model", True),
    ("harness.texts", False),
    ("harness.formats", False),
    ("harness.program", False),
    ("harness.store", False),
    ("harness.core", False),
)
NAMES = [name for name, _ in ROOMS]
LOADS_TORCH = {name for name, loads in ROOMS if loads}
# Modules of rooms that may load torch which planning and the processes beside the workers use, so that they must not.
LIGHT = {
    "harness.measure.request",
    "harness.measure.overlap",
    "harness.model.checkpoints",
    "harness.model.hub",
    "harness.model.pretrained",
    "harness.train.events",
    "harness.corpora.corpus",
    "harness.corpora.splits",
}
READ_BY_ANALYSIS = {
    f"harness.{room}" for room in ("core", "program", "store", "formats", "texts", "config", "compose", "plan")
}
# Beside these rooms: which rows a run wants, and what is queued.
ALSO_READ = {"harness.measure.request", "harness.slurm.status", "harness.slurm.submissions"}
HEAVY = ("torch", "transformers", "datasets", "tokenizers")
MOST_MODULES = 10  # of a room
LONGEST = 300  # lines of a module
PACKAGES_OF_OURS = ("harness", "analysis", "paper_figures")


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name; the lines of an `__init__` count as the room's own."""
    found = {}
    for package in PACKAGES_OF_OURS:
        for file in sorted((REPOSITORY / package).rglob("*.py")):
            parts = file.relative_to(REPOSITORY).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room_of(module: str) -> str:
    """The room that a module lies in; a room's own name is its `__init__`."""
    return module if module in NAMES else module.rpartition(".")[0]


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Dotted names that a module imports, also inside functions. `from a import b` counts as `a` and as `a.b`."""
    file = modules()[module]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively, which this test does not read"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def ours(module: str) -> set[str]:
    """The modules of this project that a module imports."""
    return {name for name in imports(module) if name in modules() and name not in NAMES}


# --- rooms -----------------------------------------------------------------------------------------------------------


def test_every_module_lies_in_a_room() -> None:
    assert {room_of(module) for module in modules()} == set(NAMES)


@pytest.mark.parametrize("module", modules())
def test_a_room_imports_only_rooms_below_it(module: str) -> None:
    own = room_of(module)
    upward = {name for name in ours(module) if room_of(name) != own and NAMES.index(room_of(name)) < NAMES.index(own)}
    assert not upward, f"{module} imports what stands above {own}"
    assert not {name.split(".")[0] for name in imports(module)} & {"benchmarks", "tests"}
    if module.startswith("analysis"):
        read = {name for name in ours(module) if name.startswith("harness.")} - ALSO_READ
        assert {room_of(name) for name in read} <= READ_BY_ANALYSIS
    if module.startswith("paper_figures"):
        assert not {name for name in ours(module) if room_of(name) in LOADS_TORCH}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter({name: ours(name) for name in modules()}).prepare()  # CycleError names the circle


def test_a_room_can_be_taken_in_at_a_glance() -> None:
    for room in NAMES:
        inside = [name for name in modules() if room_of(name) == room and name != room]
        if room not in PACKAGES_OF_OURS:
            assert 1 <= len(inside) <= MOST_MODULES, f"{room}: {inside}"
        assert ast.get_docstring(ast.parse(modules()[room].read_text(encoding="utf-8"))), f"{room} says not what it is"


def test_the_top_of_the_harness_holds_commands() -> None:
    inside = {name.removeprefix("harness.") for name in modules() if room_of(name) == "harness"} - {"harness"}
    for name in inside - {"cli", "report", "launch"}:
        text = modules()[f"harness.{name}"].read_text(encoding="utf-8")
        assert '__name__ == "__main__"' in text, f"harness/{name}.py is no command"


def test_the_walk_of_the_learning_rate_passes_each_room_once() -> None:
    """docs/architecture.md names the files that `lr` passes on its way from the command line to the optimizer."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("## A walk: `lr`")[1].split("\n## ")[0]
    files = re.findall(r"(?m)^\| `(harness/[\w/]+\.py)`", section)
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []
    walked = [file.split("/")[1] for file in files]
    rooms = [room for k, room in enumerate(walked) if not k or walked[k - 1] != room]
    assert rooms == ["compose", "config", "program", "plan", "train"]


@pytest.mark.parametrize("room", [name for name in NAMES if name not in PACKAGES_OF_OURS])
def test_a_room_has_its_folder_of_tests(room: str) -> None:
    folder = REPOSITORY / "tests" / room.rpartition(".")[2]
    assert list(folder.glob("test_*.py")), f"no tests in {folder.relative_to(REPOSITORY)}/"


def test_planning_and_analysis_load_no_torch() -> None:
    """A plan or a table on a login node takes no 5 s, and nothing may bring torch back by an import at module level."""
    light = [name for name in modules() if room_of(name) not in LOADS_TORCH or name in LIGHT]
    assert len(light) > 80
    script = f"""
import importlib, json, sys
loaded = {{}}
for name in json.loads(sys.argv[1]):
    before = set(sys.modules)
    importlib.import_module(name)
    loaded[name] = [heavy for heavy in {HEAVY} if heavy in sys.modules and heavy not in before]
print(json.dumps({{name: heavy for name, heavy in loaded.items() if heavy}}))
"""
    command = [sys.executable, "-c", script, json.dumps(light)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}


# --- sizes and texts -------------------------------------------------------------------------------------------------


@functools.cache
def words(module: str) -> frozenset[str]:
    """The names in a module's code: what it defines, imports or reads."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Constant) and module == "analysis":
            found.add(str(node.value))  # OFFERED
    return frozenset(found)


def exists(name: str) -> bool:
    """Is it a module or a room, or the name of something in one?"""
    module, rest = name, ""
    while module not in modules():
        module, _, rest = module.rpartition(".")
        if not module:
            return False
    return not rest or rest in words(module)


def test_texts_name_what_is_there() -> None:
    """In code, documents and conf/: a module that was renamed, or a function that went, is named nowhere any more."""
    dotted = re.compile(r"(?<![\w./])(?:harness|analysis|paper_figures)(?:\.(?!__file__)[A-Za-z_]\w*)+")
    missing = [
        f"{file.relative_to(REPOSITORY)}: {name}"
        for file in repository_files()
        if file.suffix in (".py", ".md", ".yaml", ".toml", ".yml") and REPOSITORY / "tests" not in file.parents
        for name in dotted.findall(file.read_text(encoding="utf-8"))
        if not exists(name)
    ]
    assert not missing
    assert exists("harness.core.units.count")
    assert not exists("harness.core.units.counted")
    assert not exists("harness.schedule.pieces")


@pytest.mark.parametrize("room", [name for name in NAMES if name not in PACKAGES_OF_OURS])
def test_a_room_offers_what_it_has(room: str) -> None:
    text = ast.get_docstring(ast.parse(modules()[room].read_text(encoding="utf-8"))) or ""
    asked = re.findall(r"`([\w.]+)`", text.partition("Ask for ")[2])
    assert asked
    assert [name for name in asked if not exists(f"{room}.{name}") and not exists(name)] == []


def test_no_module_is_longer_than_300_lines() -> None:
    lengths = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in modules().items()}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def repository_files() -> list[Path]:
    """What git tracks or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("an absolute path of some machine", rb"(?<![\w.~/:\-])/(?:work|root|home|Users|opt|mnt|scratch)/\w"),
        ("where packages come from", rb"index[-_]url|find[-_]links|https?://[^\s\"')]*(?:pypi|pythonhosted|/whl\b)"),
        ("a local build in the lock", rb"(?m)^[\w.-]+==[\w.]+\+(?:cpu|cu\d+)|^[\w.-]+ @ "),
    ],
    ids=["paths", "indexes", "builds"],
)
def test_no_file_names(what: str, pattern: bytes) -> None:
    found = [
        f"{file.relative_to(REPOSITORY)}: {match[0]!r}"
        for file in repository_files()
        for match in re.finditer(pattern, file.read_bytes(), re.IGNORECASE)
    ]
    assert not found, what


def test_the_lock_holds_what_the_project_depends_on() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {
        re.sub("[-_.]+", "-", name).lower(): version
        for name, version in (line.split("==") for line in lock if not line.startswith("#"))
    }
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(locked[requirement.name], prereleases=True), text
    for package in PACKAGES:
        assert package in locked, "the embedded corpora read it"


# --- docstrings ------------------------------------------------------------------------------------------------------

DOCUMENTED = {
    "harness.config.run": ("Run",),
    "harness.config.measuring": ("MeasureGrid",),
    "harness.config.launching": ("Launch", "Cluster", "JobSettings"),
    "harness.program.program": ("Program", "Phase", "Source", "Adam", "Scratch", "Checkpoint"),
    "harness.program.schedule": ("Schedule",),
    "harness.plan.plan": ("Plan", "PlannedRun", "Segment", "Evaluation"),
    "harness.plan.task": ("Task",),
    "harness.store.state": ("StateInfo",),
    "harness.train.states": ("State",),
    "harness.texts.recipe": ("Recipe",),
    "analysis.fitting.fit": ("Fit",),
    "analysis.fitting.crossval": ("Tried",),
    "analysis.answers.compare": ("Comparison",),
    "analysis.laws.law": ("Law",),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in DOCUMENTED.items() for name in names])
def test_every_field_of_a_public_value_says_what_it_is(module: str, name: str) -> None:
    """A text below the field, not a comment beside it: units, shapes, what None stands for."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    fields = [at for at, node in enumerate(found.body) if isinstance(node, ast.AnnAssign)]
    assert fields
    for at in fields:
        below = found.body[at + 1] if at + 1 < len(found.body) else None
        told = (
            isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
        )
        assert told, f"{module}.{name}: line {found.body[at].lineno} has no docstring below"


def test_the_tests_of_a_file_share_a_core(request: pytest.FixtureRequest) -> None:
    """Else what they share is made on both."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@tests/test_structure.py")
