"""Installed from a wheel, in an empty folder: the commands plan, train, analyse and draw as they do in a checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from harness.slurm.snapshot import freeze_code
from tests.repository import REPOSITORY
from tests.tiny import command, write_texts

PARTS = ("harness", "analysis", "paper_figures", "conf", "sweeps", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for setuptools leaves its build folder beside the sources and takes from it again."""
    copy = tmp_path_factory.mktemp("sources")
    for part in PARTS:
        if (REPOSITORY / part).is_dir():
            shutil.copytree(REPOSITORY / part, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / part, copy / part)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."], cwd=copy, check=True)
    return next((copy / "dist").glob("rewarm-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installation over the packages of this environment."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "-q", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


def run(folder: Path, path: str, *arguments: str, **environment: str) -> str:
    """The stdout of a command that succeeds."""
    done = subprocess.run(
        arguments, cwd=folder, env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(commands: Path, path: str, folder: Path, launch: str) -> None:
    """A plan of a sweep that ships, a run, its analysis and a figure, from a folder with nothing but texts in it."""
    write_texts(folder / "texts")
    (folder / "own").mkdir()
    (folder / "own" / "mine.yaml").write_text("defaults: [config, _self_]\ngrids: [{replay: [0, 0.5]}]\n")
    plan = json.loads(run(folder, path, str(commands / "rewarm"), "-cn", "demo", "do=plan", "json=true"))
    assert len(plan["points"]) == 16
    tiny = [*command(folder / "texts").split(), f"launch={launch}"]
    trained = json.loads(run(folder, path, str(commands / "rewarm"), "-cd", "own", "-cn", "mine", *tiny, "json=true"))
    assert [point["status"] for point in trained["points"]] == ["done", "done"]
    shown = json.loads(run(folder, path, str(commands / "rewarm-analysis"), "runs", "--json"))
    assert [one["status"] for one in shown["runs"]] == ["done", "done"]
    assert run(folder, path, str(commands / "rewarm-figures"), "rewarm_fig5", "--out", "f") == "f/rewarm_fig5.pdf\n"
    assert sorted(path.name for path in folder.iterdir()) == ["f", "own", "runs", "texts"]


@pytest.mark.slow
def test_a_wheel_works_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    check(installed / "bin", str(installed), tmp_path, "inline")


def test_jobs_of_an_installed_program_get_the_same_code_as_those_of_a_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import pathlib, harness.slurm.snapshot as s; print(s.freeze_code(pathlib.Path('jobs')).name)"
    assert run(tmp_path, str(installed), sys.executable, "-c", code).strip() == freeze_code(tmp_path / "ours").name


def test_a_shell_completes_the_installed_command(installed: Path, tmp_path: Path) -> None:
    rewarm = str(installed / "bin" / "rewarm")
    script = run(tmp_path, str(installed), rewarm, "-sc", "install=bash")
    assert script.rstrip().endswith("hydra_bash_completion rewarm")
    line = "rewarm schedule=wsd tracker=w"
    found = run(tmp_path, str(installed), rewarm, "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert found.split() == ["tracker=wandb", "tracker=wandb_offline"]


@pytest.mark.slow
def test_a_wheel_works_with_the_packages_that_it_asks_for(wheel: Path, tmp_path: Path) -> None:
    """Over the network: the dependencies as the wheel names them, in the versions of the lock."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "pip"), "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*pip, "-c", str(REPOSITORY / "requirements.lock"), str(wheel)], check=True)
    (tmp_path / "empty").mkdir()
    check(environment / "bin", "", tmp_path / "empty", "local")
