"""Hydra's part: from a command line to composed configs, as plain dicts.

Hydra composes the groups that were chosen, in this process and in memory: its launchers, sweepers, working folders and
log files play no part (a collecting function under another launcher would train nothing and exit 0), so nothing is left
behind whenever a call is stopped. `harness.compose.expand` enumerates. No Hydra object leaves this module.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from harness.compose import keys
from harness.compose.expand import SWEEP, Composed, GridPoint, expand, labelled
from harness.compose.overrides import Call, call_of, hydras_own, knobs_of
from harness.core.errors import InputError
from harness.core.shipped import CONF, SWEEPS

Chosen: TypeAlias = tuple[tuple[str, str], ...]


def collect(arguments: Sequence[str]) -> list[GridPoint]:
    """All points of one command line (`-m`, `-cd`, `-cn` and overrides).

    Raises InputError for what cannot be composed. Exits as Hydra does for --help, --cfg and the like.
    """
    call = call_of(arguments)
    if call.shows:
        _show(call, arguments)
    return labelled(_points(call))


def sweep_points(names: Sequence[str], overrides: Sequence[str], folder: Path = SWEEPS) -> list[GridPoint]:
    """The points of several sweep files, as `python -m harness.sweep` and analysis see them. `a=1,2` makes products.
    A name that ends with .yaml is the path of a file anywhere."""
    points = []
    for given in names:
        path = Path(given).absolute() if given.endswith(".yaml") else folder / f"{given}.yaml"
        place, name = path.parent, path.stem
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in place.glob("*.yaml")))
            raise InputError("sweep", name, f"no such file in {place.name}/", f"known: {known}")
        own = _points(Call(str(place), name, True, False, tuple(overrides)))
        points += [replace(point, choices={SWEEP: name, **point.choices}) for point in own]
    return labelled(points)


def _points(call: Call) -> list[GridPoint]:
    knobs = knobs_of(call.overrides, multirun=call.multirun)
    folder, name = _place(call)
    from harness.compose.pairs import is_pair

    loader = _loader(folder)
    load = cache(lambda name, chosen: _load(loader, name, chosen))

    @cache
    def compose(chosen: Chosen) -> Composed:
        further = {group for group, _ in chosen} - {*keys.groups()}  # groups of the user's own need a + where no file
        present = load(name, ())[1] if further else {}  # of theirs chooses from them already
        for group, choice in chosen:
            if not is_pair(f"{group}/{choice}"):
                _refuse_choice(group, choice, loader.get_group_options(group))
        config, made = load(name, tuple((g if g in present or g not in further else f"+{g}", c) for g, c in chosen))
        choices = {group: str(choice) for group, choice in made.items() if "/" not in group}
        for group, choice in choices.items():
            if folder is not None and _both(folder, f"{group}/{choice}"):
                raise InputError(group, choice, f"it is in {folder} and in the program's conf", "rename yours")
        return Composed(config, choices)

    return expand(knobs, compose, {*keys.groups(), *loader.list_groups("")} - {"hydra", keys.CORPUS}, folder)


def _place(call: Call) -> tuple[Path | None, str]:
    """The folder of the user's own files, and the name of the sweep file."""
    name = (call.name or "config").removesuffix(".yaml")
    ships = (SWEEPS / f"{name}.yaml").is_file()
    folder = Path(call.folder).expanduser().absolute() if call.folder else SWEEPS if call.name and ships else None
    if folder is not None and not folder.is_dir():
        raise InputError("-cd", folder, "no such folder", "leave -cd out for the program's own sweep files")
    if folder is not None and _both(folder, name):
        raise InputError("-cn", name, f"it is in {folder} and in the program's conf", "rename yours")
    if not any((place / f"{name}.yaml").is_file() for place in (folder, CONF) if place):
        known = sorted(file.stem for file in (folder or SWEEPS).glob("*.yaml") if file.is_file())
        near = difflib.get_close_matches(Path(name).name, known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known[:20])}"
        raise InputError(
            "-cn", name, f"no such sweep file in {folder or SWEEPS}", remedy if known else "give -cd FOLDER"
        )
    return folder, name


def _with_folder(call: Call, arguments: Sequence[str]) -> Sequence[str]:
    """`-cn demo` without a folder is the file that ships with the program, for Hydra's flags too."""
    folder = _place(call)[0]
    return arguments if folder is None or call.folder else ["-cd", str(folder), *arguments]


def _both(folder: Path, name: str) -> bool:
    return folder != CONF and all((place / f"{name}.yaml").is_file() for place in (folder, CONF))


def _loader(folder: Path | None) -> Any:
    """Hydra's loader over conf/ and the user's folder, as `hydra.main` makes it."""
    from hydra import version
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.plugins import Plugins
    from hydra.core.utils import JobRuntime, setup_globals

    from harness.compose.user_files import Files

    version.setbase("1.3")
    setup_globals()
    _with_pairs()
    JobRuntime.instance().set("name", "harness")
    Plugins.instance().register(Files)
    path = create_config_search_path(f"{Files.scheme()}://{CONF}")
    if folder is not None:
        anchor = SearchPathQuery(provider="schema")
        path.prepend("command-line", f"{Files.scheme()}://{folder}", anchor=anchor)
    return ConfigLoaderImpl(config_search_path=path)


def _with_pairs() -> None:
    """Let Hydra find `shift=A_to_B` wherever it composes."""
    from hydra.core.plugins import Plugins

    from harness.compose.pairs import Pairs, PairsPath

    for plugin in (Pairs, PairsPath):
        Plugins.instance().register(plugin)


def _load(loader: Any, name: str, chosen: Chosen) -> tuple[dict[str, Any], dict[str, str | None]]:
    """What Hydra composes, as a plain dict, and the choice in each group. Hydra's own settings, which play no part, are
    left out: they are most of what `load_configuration` composes."""
    from hydra._internal.defaults_list import create_defaults_list
    from omegaconf import OmegaConf

    overrides = [f"{group}={choice}" for group, choice in chosen]
    try:
        with warnings.catch_warnings(action="ignore"):  # what they warn of is refused below
            parsed, files = loader._parse_overrides_and_create_caching_repo(name, overrides)
            made = create_defaults_list(files, name, parsed, prepend_hydra=False, skip_missing=False)
            loaded = loader._compose_config_from_defaults_list(defaults=made.defaults, repo=files)
        config = OmegaConf.to_container(loaded, resolve=False)
    except InputError:
        raise
    except Exception as error:  # Hydra asserts and recurses where a file is not as it expects
        raise _translated(error, name) from None
    assert isinstance(config, dict)
    _refuse_hydras(config.pop("hydra", None) or {})
    return {str(key): value for key, value in config.items()}, made.overrides.known_choices


def _refuse_choice(group: str, choice: str, options: Sequence[str]) -> None:
    if choice in options or ("/" in choice and ".." not in choice):
        return
    known, instead = f"known: {', '.join(options)}", keys.number_inside(group, choice)
    known += ", and A_to_B of any two corpora" if group == "shift" else ""
    raise InputError(group, choice, "no such choice", f"{known}; or give {instead}" if instead else known)


def _refuse_hydras(given: Any) -> None:
    """A sweep file that sets what the program sets itself: launchers, working folders, callbacks."""
    for key, value in given.items() if isinstance(given, dict) else [("", given)]:
        if key == "help":
            continue
        inner, what = next(iter(value.items())) if isinstance(value, dict) and value else (None, value)
        raise hydras_own(".".join(["hydra", *(str(part) for part in (key, inner) if part)]), what)


def _show(call: Call, arguments: Sequence[str]) -> None:
    """Hydra's --help, --cfg, --info and shell completion. Exits."""
    import hydra

    knobs_of(call.overrides, multirun=call.multirun)
    _with_pairs()
    if call.multirun:
        raise InputError("-m", "", "a flag that shows something shows one config", "leave -m out")

    def task(_: Any) -> None:
        raise AssertionError("hydra.main was asked to show something")

    task.__module__ = "harness"  # the name in Hydra's own messages
    before, argv = os.environ.get("HYDRA_FULL_ERROR"), sys.argv
    log = logging.getLogger()  # Hydra's --info makes it print everything, and leaves it so
    level, handlers = log.level, log.handlers[:]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else it prints lines of its own and exits 1
    in_order = sorted(arguments, key=lambda a: "=" not in a or a.startswith("-"))  # argparse wants overrides together
    called = "rewarm" if Path(argv[0]).name == "rewarm" else "python -m harness"  # a shell completes the first only
    sys.argv = [called, *_with_folder(call, in_order)]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
        raise SystemExit(0)
    except OSError:  # a reader that left (`| head`), a disk that is full
        raise
    except Exception as error:
        raise _translated(error, call.name or "config") from None
    finally:
        sys.argv, log.handlers = argv, handlers
        log.setLevel(level)
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _translated(error: Exception, name: str) -> InputError:
    """Hydra's and OmegaConf's refusals as one of ours."""
    if isinstance(error, RecursionError):
        return InputError("-cn", name, "its defaults name each other in a circle", "take one of them out")
    text = str(error) or str(error.__cause__ or "")
    match = re.search(r"Could not override '([^'@]+)'.*No match in the defaults list", text)
    if match:
        own = match[1].startswith("hydra/")
        return hydras_own(match[1], "in defaults") if own else keys.unknown(match[1], "in defaults")
    match = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if match and match[1].startswith("hydra/"):
        return hydras_own(match[1], match[2])
    if match:
        if match[1] not in keys.groups():
            return keys.unknown(match[1], match[2])
        return InputError(match[1], match[2], "no such choice", f"known: {', '.join(keys.groups()[match[1]])}")
    first = " ".join(text.split()) or type(error).__name__
    return InputError("-cn", name, first[:300], "see `python -m harness --help`")
