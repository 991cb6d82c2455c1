"""What conf/ defines: every key with its default and its meaning, and the check of a composed config against them.

The meaning of a key is the comment behind it in conf/. A sweep file, a choice of one's own or an override that names a
key which conf/ does not have is refused with the nearest that it has, at any depth: it would change nothing.
"""

from __future__ import annotations

import difflib
import functools
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from harness.config.fields import Config
from harness.core.errors import InputError
from harness.core.shipped import CONF

# Values with a form of their own, which their readers check: names that a user makes up, lists of mappings.
FREE = ("grids", "grids_at", "stages", "shift.further", "launch.sbatch", "base.schedule", "text")
CORPUS = "corpus"  # a folder of corpora by name, of which a run has several, not of choices
CORPUS_KINDS = {"embedded": "docs", "files": "pile", "megatron": "pile_pythia"}  # a file of conf/ with all keys of it
TELLING = ("kind", "name")  # keys whose value says which keys a choice has


@dataclass(frozen=True)
class Key:
    """A key of conf/: its default as written there, `form` (mapping, sequence or scalar), meaning, keys inside it."""

    default: str
    form: str
    meaning: str
    inside: dict[str, Key] = field(default_factory=dict)


@functools.cache
def groups() -> dict[str, list[str]]:
    """The choices of conf/: group -> names, the default one first."""
    config = (CONF / "config.yaml").read_text(encoding="utf-8")
    found = {}
    for folder in sorted(folder for folder in CONF.iterdir() if folder.is_dir() and folder.name != CORPUS):
        default = re.search(rf'^ +- {folder.name}: "?([\w.-]+)', config, re.MULTILINE)
        assert default is not None, f"conf/config.yaml has no default for {folder.name}"
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        found[folder.name] = sorted(names, key=lambda name: name != default[1])
    return found


@functools.cache
def defined(group: str = "", choice: str = "config") -> dict[str, Key]:
    """The keys that a file of conf/ defines at the top of a config, those of the choices it builds on included."""
    text = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    found: dict[str, Key] = {}
    for name, node in root.value:
        if name.value == "defaults" and group:
            bases = (entry.value for entry in node.value if entry.id == "scalar")
            found |= {k: v for base in bases if base != "_self_" for k, v in defined(group, base)[group].inside.items()}
    for name, key in _inside(root, text.splitlines(), text).items():
        if name not in ("defaults", "hydra"):
            meaning = key.meaning or (found[name].meaning if name in found else "")
            found[name] = replace(key, meaning=meaning)
    return found if not group or "@package _global_" in text else {group: Key("", "mapping", "", found)}


def corpus_keys(kind: str) -> dict[str, Key]:
    """The keys of a corpus of this kind, as conf/corpus has them."""
    return defined(CORPUS, CORPUS_KINDS[kind])[CORPUS].inside


def flat(keys: Mapping[str, Key], prefix: str = "") -> dict[str, Key]:
    """By dotted name."""
    found = {}
    for name, key in keys.items():
        found[f"{prefix}{name}"] = key
        found |= flat(key.inside, f"{prefix}{name}.")
    return found


def leaves(keys: Mapping[str, Key]) -> dict[str, Key]:
    """By dotted name, without the mappings that hold others."""
    return {name: key for name, key in flat(keys).items() if not key.inside}


@functools.cache
def every_key() -> dict[str, Key]:
    """Every dotted key of conf/, whatever is chosen, with the default of the first choice that has it."""
    found = flat(defined())
    for group, choices in groups().items():
        for choice in choices:
            for name, key in flat(defined(group, choice)).items():
                first = found.setdefault(name, key)
                if not first.meaning:
                    found[name] = replace(first, meaning=key.meaning)
    return found


def listing(width: int) -> list[str]:
    """`--keys`: every key with its default and meaning, by the choice that has it. The choices of a group that set the
    same keys are listed once, with the defaults of the usual one."""
    legend = (
        "Knobs: key=value on the command line, `key: value` in a sweep file. Amounts of tokens: 600000, 0.6M, or 0.5x,"
    )
    legend += " half of scale.tokens. Shares lie between 0 and 1."
    lines = [*textwrap.wrap(legend, width), "", *_rows(leaves(defined()), width)]
    for group, choices in groups().items():
        listed: list[set[str]] = []
        for choice in choices:
            own = leaves(defined(group, choice))
            if set(own) in listed:
                continue
            alike = [c for c in choices if set(flat(defined(group, c))) == set(flat(defined(group, choice)))]
            lines += ["", *textwrap.wrap(f"{group}={' | '.join(alike)}", width)]
            lines += _rows({name: replace(key, meaning=every_key()[name].meaning) for name, key in own.items()}, width)
            listed.append(set(own))
    names = ", ".join(sorted(file.stem for file in (CONF / CORPUS).glob("*.yaml")))
    lines += ["", *textwrap.wrap(f"corpus.NAME.key=value, for NAME of {names}, or your own", width)]
    for kind in CORPUS_KINDS:
        lines += ["", *_rows({f"{CORPUS}.NAME.{name}": key for name, key in corpus_keys(kind).items()}, width)]
    return lines


def _rows(keys: Mapping[str, Key], width: int) -> list[str]:
    """`  key=default   meaning`; on a narrow terminal the meaning stands below."""
    column = 40 if width >= 100 else 6
    rows = []
    for name, key in keys.items():
        head = f"  {name}={textwrap.shorten(key.default, 40, placeholder=' ...')}"
        meaning = textwrap.wrap(key.meaning, max(width - column, 20))
        if len(head) < column and meaning:
            head = f"{head:{column}}{meaning.pop(0)}"
        rows += [head, *(" " * column + line for line in meaning)]
    return rows


def check(config: Config, chosen: Mapping[str, str]) -> None:
    """Refuse a composed config whose keys are not those that conf/ defines for the choices made.

    A choice of one's own is held against the choice of conf/ that has its `kind` (a schedule: its `name`).
    """
    alike = tuple(_alike(group, config.get(group), chosen.get(group)) for group in groups())
    _compare(config, _known(alike), "", dict(zip(groups(), alike, strict=True)))


def unknown(name: str, value: object) -> InputError:
    """The refusal of a key that conf/ does not define, with the nearest that it does."""
    every = every_key()
    group, _, last = name.rpartition(".")
    if not name:
        return InputError("''", value, "a key without a name", "`python -m harness --keys` lists all")
    if name in every:
        top = name.partition(".")[0]
        having = [f"{top}={choice}" for choice in groups().get(top, ()) if name in flat(defined(top, choice))]
        return InputError(name, value, f"not a key of the {top} that was chosen", f"it belongs to {', '.join(having)}")
    beside = {key.rpartition(".")[2]: key for key in every if key.rpartition(".")[0] == group}
    lasts = {key.rpartition(".")[2]: key for key in reversed(every)}
    words = last.replace("_", " ").lower()  # learning_rate: what lr says of itself
    same = [key for key in every if key.rpartition(".")[2] == last]
    told = [key for key, known in every.items() if " " in words and words in known.meaning.lower()]
    if not group and (same or told):
        return InputError(name, value, "unknown key", f"did you mean {' or '.join(same[:3] or told[:1])}?")
    for word, among, cutoff in ((last, beside, 0.6), (last, lasts, 0.7), (name, {key: key for key in every}, 0.5)):
        near = difflib.get_close_matches(word, among, n=1, cutoff=cutoff)
        if near:
            return InputError(name, value, "unknown key", f"did you mean {among[near[0]]}?")
    return InputError(name, value, "unknown key", "`python -m harness --keys` lists all")


def number_inside(name: str, value: object) -> str:
    """What to type where a number was given for a mapping: its first key that takes one. Empty if there is none."""
    try:
        number = f"{float(str(value)):g}"
    except ValueError:
        return ""
    inside = every_key()[name].inside if name in every_key() else {}
    return next((f"{name}.{key}={number}" for key, known in inside.items() if re.match(r"[\d.]", known.default)), "")


def _alike(group: str, given: Any, chosen: str | None) -> str:
    """The choice of conf/ whose keys a group should have."""
    choices = groups()[group]
    telling = next((str(given[key]) for key in TELLING if key in given), None) if isinstance(given, dict) else None
    alike = [choice for choice in choices if _telling(group, choice) == telling]
    if chosen in choices and alike and chosen not in alike and not _fields(group, alike[0]) <= set(given):
        key = next(key for key in TELLING if key in given)
        raise InputError(f"{group}.{key}", telling, f"it comes with the choice of {group}", f"give {group}={alike[0]}")
    return next((choice for choice in (chosen, *alike) if choice in (alike or choices)), choices[0])


def _fields(group: str, choice: str) -> set[str]:
    return set(defined(group, choice)[group].inside)


@functools.cache
def _telling(group: str, choice: str) -> str:
    inside = defined(group, choice)[group].inside
    return next((inside[key].default.strip('"') for key in TELLING if key in inside), "")


@functools.lru_cache(maxsize=256)
def _known(alike: tuple[str, ...]) -> dict[str, Key]:
    known = dict(defined())
    for group, choice in zip(groups(), alike, strict=True):
        known = _joined(known, defined(group, choice))
    return known


def _joined(known: Mapping[str, Key], further: Mapping[str, Key]) -> dict[str, Key]:
    """Both; a scale sets single keys of other groups."""
    both = {
        name: replace(known[name], inside=_joined(known[name].inside, key.inside))
        for name, key in further.items()
        if name in known and known[name].inside and key.inside
    }
    return {**known, **further, **both}


def _compare(config: Config, known: Mapping[str, Key], prefix: str, choices: Mapping[str, str]) -> None:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if key not in known:
            raise unknown(name, value)
        if name in FREE:
            continue
        if known[key].form == "mapping":
            if not isinstance(value, dict):
                raise _not_a_mapping(name, value)
            _compare(value, known[key].inside, f"{name}.", choices)
        elif isinstance(value, dict):
            raise InputError(name, value, "a mapping where one value is due", f"give {name}=VALUE")
        elif isinstance(value, list) and known[key].form == "scalar":
            raise InputError(name, value, "a list where one value is due", f"to run each, put {name} into grids")
    for key in known:
        if key not in config:
            top = f"{prefix}{key}".partition(".")[0]
            like = (
                f"build on {top}={choices[top]}"
                if prefix and top in choices
                else "begin the file with `defaults: [config, _self_]`"
            )
            raise InputError(f"{prefix}{key}", "missing", "nothing sets this key", like)


def _not_a_mapping(name: str, value: object) -> InputError:
    inside = ", ".join(every_key()[name].inside)
    if value in groups().get(name, ()):
        remedy = f"choose it in the file's defaults (override {name}: {value}) or in grids"
        return InputError(name, value, "a choice, given where its keys are due", remedy)
    first = number_inside(name, value) or f"{name}.{inside.partition(',')[0]}=..."
    return InputError(name, "null" if value is None else value, f"it has keys: {inside}", f"give {first}, for example")


def _inside(node: Any, lines: list[str], text: str) -> dict[str, Key]:
    """The keys of a mapping, in the order of the file; the comment behind a key is its meaning."""
    found = {}
    for name, value in node.value:
        nested = value.id == "mapping" and value.value
        mark = name.end_mark if nested and not value.flow_style else value.end_mark
        comment = re.search(r"(?:^|\s)#\s*(.*)", lines[mark.line][mark.column :]) if mark.line < len(lines) else None
        meaning = [comment[1]] if comment else []
        for line in lines[mark.line + 1 :] if comment else []:  # what goes on below it, indented
            further = re.match(r"\s{8,}#\s*(.*)", line)
            if further is None:
                break
            meaning.append(further[1])
        default = "" if nested else " ".join(text[value.start_mark.index : value.end_mark.index].split())
        inside = _inside(value, lines, text) if nested else {}
        found[name.value] = Key(default, value.id, " ".join(meaning), inside)
    return found
