"""Hydra's part: from a command line to composed configs, as plain dicts.

The function under `@hydra.main` only collects; when Hydra returns, all points are known and none has started (a
collecting function under another launcher would train nothing and exit 0, so any launcher or sweeper but Hydra's basic
ones is refused). No Hydra object leaves this module, and Hydra leaves no file behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.expand import Point, expand, unknown_key
from harness.fields import Config
from harness.shipped import CONF, SWEEPS


def collect(arguments: Sequence[str]) -> list[Point]:
    """All points of one command line (`-m`, `-cd`, `-cn` and overrides, as Hydra defines them).

    Raises InputError for what Hydra refuses. Exits as Hydra does for --help, --cfg and the like.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    _refuse_plugins(arguments)
    arguments = _with_shipped_sweeps(arguments)
    points: list[Point] = []
    refusals: list[Exception] = []
    hydras = (HydraException, OmegaConfBaseException)

    def task(composed: Any) -> None:
        try:
            points.extend(_points(composed))
        except (InputError, *hydras) as error:  # raised through Hydra it would print a line of its own
            refusals.append(error)

    task.__module__ = "harness"  # the name in Hydra's own messages
    decorated = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)
    with _quiet_hydra(arguments):
        GlobalHydra.instance().clear()
        try:
            decorated()
        except hydras as error:
            refusals.append(error)
        finally:
            GlobalHydra.instance().clear()
        for refusal in refusals[:1]:
            raise refusal if isinstance(refusal, InputError) else _translated(refusal, arguments)
    return points


def sweep_points(names: Sequence[str], overrides: Sequence[str], folder: Path = SWEEPS) -> list[Point]:
    """The points of several sweep files, as `python -m harness.sweep` and analysis see them. `a=1,2` makes products."""
    multirun = ["-m"] if any(re.match(r"[^\[{(]*=[^\[{(]*,", override) for override in overrides) else []
    points = []
    for name in names:
        if not (folder / f"{name}.yaml").is_file():
            known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            raise InputError("sweep", name, f"no such file in {folder.name}/", f"known: {known}")
        points += collect(["-cd", str(folder), "-cn", name, *multirun, *overrides])
    return points


def _points(composed: Any) -> list[Point]:
    import hydra
    from hydra.core.hydra_config import HydraConfig

    settings = HydraConfig.get()
    for part in ("launcher", "sweeper"):
        target = str(getattr(settings, part)["_target_"])
        if not target.endswith(f"Basic{part.capitalize()}"):
            raise _plugin(part, target)
    given = [str(override) for override in settings.overrides.task]
    name = settings.job.config_name

    def compose(choices: tuple[str, ...]) -> Config:
        return _plain(hydra.compose(config_name=name, overrides=[*given, *choices]))

    return expand(compose, _plain(composed), [re.split("[=@]", item.lstrip("+~"))[0] for item in given])


def _plain(composed: Any) -> Config:
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items() if key != "hydra"}


@contextlib.contextmanager
def _quiet_hydra(arguments: Sequence[str]) -> Iterator[None]:
    """Hydra reads sys.argv, exits 1 on errors unless told to raise, and writes multirun.yaml into the sweep folder."""
    folder = tempfile.mkdtemp(prefix="rewarm-hydra-")
    before, argv = dict(os.environ), sys.argv
    os.environ.update(HYDRA_FULL_ERROR="1", REWARM_HYDRA_DIR=folder)
    in_order = sorted(arguments, key=lambda a: "=" in a and not a.startswith("-"))  # argparse wants overrides together
    called = "rewarm" if Path(argv[0]).name == "rewarm" else "python -m harness"  # a shell completes the first only
    sys.argv = [called, *in_order]
    try:
        yield
    finally:
        sys.argv = argv
        for key in ("HYDRA_FULL_ERROR", "REWARM_HYDRA_DIR"):
            os.environ.pop(key, None)
            if key in before:
                os.environ[key] = before[key]
        shutil.rmtree(folder, ignore_errors=True)


def _with_shipped_sweeps(arguments: Sequence[str]) -> Sequence[str]:
    """`-cn demo` without a folder is the file that ships with the program; with one (-cd) the user's own."""
    pairs = list(zip(arguments, (*arguments[1:], ""), strict=False))  # of no arguments there are no pairs
    named = [
        following if name in ("-cn", "--config-name") else name.split("=", 1)[-1]
        for name, following in pairs
        if name in ("-cn", "--config-name") or name.startswith("--config-name=")
    ]
    elsewhere = any(name.startswith(("-cd", "--config-dir")) for name in arguments)
    ships = any((SWEEPS / f"{name.removesuffix('.yaml')}.yaml").is_file() for name in named)
    return ["-cd", str(SWEEPS), *arguments] if ships and not elsewhere else arguments


def _refuse_plugins(arguments: Sequence[str]) -> None:
    for argument in arguments:
        match = re.match(r"\+*(?:override )?hydra/(launcher|sweeper)=(.*)", argument)
        if match and match[2] != "basic":
            raise _plugin(match[1], match[2])


def _plugin(part: str, name: str) -> InputError:
    remedy = "use launch=local" if part == "launcher" else "use -m or grids"
    return InputError(f"hydra/{part}", name, "the harness collects all points before it plans them", remedy)


def _translated(error: Exception, arguments: Sequence[str]) -> InputError:
    """Hydra's and OmegaConf's refusals as one of ours."""
    text = str(error)
    match = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text)
    if match:
        key = match[1]
        value = next((a.split("=", 1)[1] for a in arguments if a.lstrip("+~").startswith(f"{key}=")), "?")
        return unknown_key(key, value, _defaults())
    match = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if match:
        known = ", ".join(sorted(file.stem for file in (CONF / match[1]).glob("*.yaml")))
        return InputError(match[1], match[2], "no such choice", f"known: {known}" if known else "see conf/")
    match = re.search(r"Additional config directory '([^']+)' not found", text)
    if match:
        return InputError("-cd", match[1], "no such folder", "leave -cd out for the sweep files that ship with rewarm")
    match = re.search(r"Cannot find primary config '([^']+)'", text)
    if match:
        return InputError("-cn", match[1], "no such sweep file", "give -cd FOLDER -cn NAME")
    first = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return InputError("arguments", " ".join(arguments), first[:300], "see `python -m harness --help`")


def _defaults() -> Config:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return _plain(hydra.compose("config"))
