"""The shape of the repository: levels, imports, sizes, and that the configs in it are ones the harness can plan."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness.compose.compose import sweep_points
from harness.config import run as config
from harness.plan.plan import compile_points
from harness.program import schedule
from harness.texts.recipe import PACKAGES

REPOSITORY = Path(__file__).resolve().parent.parent
# A new module is declared here. It may import what has its own level or a lower one.
LEVELS = {
    0: "plain errors cores limits fields identity schedule mixture shipped units",
    1: "command shape text_files file_kinds program recipe hub history shift schedule_config stages config "
    "files keys overrides user_files expand compose launching",
    2: "cost compile events request plan",
    3: "epochs store verified lease recorded task documents frozen submissions status resources over_store state",
    4: "extract embedded sources held_out tokenizer trained_tokenizer processes ingest_display ingest corpus "
    "model distributed",
    5: "batches measure checkpoint states recorded_corpora",
    6: "train",
    7: "launch session needed_corpora jobs pool worker follow display tracker chains slurm payload watch",
    8: "__main__ cli sweep evaluate peek report",
}
LEVEL = {module: level for level, modules in LEVELS.items() for module in modules.split()}
READABLE = 3  # the highest level that analysis and paper_figures read
HEAVY = ("torch", "transformers", "datasets", "tokenizers")  # seconds to import
# Modules above level 3 that planning and the process beside the workers import all the same.
LIGHT = (
    "launch",
    "session",
    "needed_corpora",
    "jobs",
    "pool",
    "follow",
    "display",
    "tracker",
    "slurm",
    "payload",
    "watch",
    "status",
    "report",
    "cli",
    "sweep",
    "__main__",
)
LONGEST = 350  # lines of a module


def modules(package: str) -> dict[str, Path]:
    """Names (dotted, within the package) and files; none if the package is not there."""
    folder = REPOSITORY / package
    files = sorted(file for file in folder.rglob("*.py") if file.stem != "__init__")
    return {".".join(file.relative_to(folder).with_suffix("").parts): file for file in files}


@functools.cache
def imports(file: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions. `from a import b` counts as `a` and as `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno} imports relatively, which this test does not read"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def harness_imports(file: Path) -> set[str]:
    """The harness modules that a file imports."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("harness.")}


def roots(file: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.split(".")[0] for name in imports(file)}


def repository_files() -> list[Path]:
    """What git tracks or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


# --- imports ---------------------------------------------------------------------------------------------------------


def test_every_module_has_a_declared_level() -> None:
    undeclared = set(modules("harness")) - set(LEVEL)
    assert not undeclared, "declare the level of these modules in LEVELS"


@pytest.mark.parametrize("module", modules("harness"))
def test_imports_point_down(module: str) -> None:
    file = modules("harness")[module]
    upward = {name for name in harness_imports(file) if LEVEL.get(name, 9) > LEVEL.get(module, 9)}
    assert not upward, f"harness.{module} (level {LEVEL.get(module)}) imports modules of higher levels"
    assert not roots(file) & {"analysis", "paper_figures", "benchmarks", "tests"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: harness_imports(file) for name, file in modules("harness").items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_level_0_needs_numpy_at_most() -> None:
    for module, file in modules("harness").items():
        if LEVEL.get(module) == 0:
            assert not roots(file) - set(sys.stdlib_module_names) - {"harness", "numpy"}, module


@pytest.mark.parametrize("package", ["analysis", "paper_figures"])
def test_analysis_and_figures_read_the_harness_and_nothing_above_the_store(package: str) -> None:
    for name, file in modules(package).items():
        above = {module for module in harness_imports(file) if LEVEL.get(module, 9) > READABLE}
        assert not above, f"{package}.{name}"
        assert not roots(file) & {*HEAVY, "benchmarks", "tests"}, f"{package}.{name}"
        if package == "analysis":
            assert "paper_figures" not in roots(file), name


def test_planning_and_analysis_load_no_torch() -> None:
    """A plan or a table on a login node takes no 5 s, and nothing may bring torch back by an import at module level."""
    light = [f"harness.{name}" for name in modules("harness") if LEVEL.get(name, 9) <= READABLE or name in LIGHT]
    light += [f"{package}.{name}" for package in ("analysis", "paper_figures") for name in modules(package)]
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


def test_no_module_is_too_long() -> None:
    files = [file for package in ("harness", "analysis", "paper_figures") for file in modules(package).values()]
    lengths = {str(file.relative_to(REPOSITORY)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


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


# --- configs ---------------------------------------------------------------------------------------------------------


def test_each_schedule_has_a_config_of_its_name() -> None:
    names = []
    for file in (REPOSITORY / "conf" / "schedule").glob("*.yaml"):
        names += re.findall(r"(?m)^name: (\w+)", file.read_text(encoding="utf-8"))
        assert names[-1] == file.stem
    assert set(names) == schedule.NAMES


SWEEPS = sorted(file.stem for file in (REPOSITORY / "sweeps").glob("*.yaml"))
SCALES = sorted(file.stem for file in (REPOSITORY / "conf" / "scale").glob("*.yaml"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_each_sweep_compiles_at_every_scale(sweep: str, scale: str) -> None:
    points = sweep_points([sweep], [f"scale={scale}"])
    assert len(points) > 1
    compiled = compile_points((point.label, config.read(point.config)) for point in points)
    assert sum(len(point.labels) for point in compiled) == len(points)
    assert all(point.program.steps > 0 for point in compiled)
