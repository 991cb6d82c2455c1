"""Laws as data: a table of a TOML file, or the definition in a fit; and files of Python, which are run if trusted.

    [law] = laws_of("mine.toml:mine")
    law = definition({"formula": "E + A/N**alpha", ...}, "mine", "mine.toml")

Formulas and requirements pass the one grammar (`analysis.formulas.grammar`), every key and number is checked: nothing
that is read here can run, but with `run_file`.
"""

from __future__ import annotations

import ast
import difflib
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from analysis.formulas import formula
from analysis.formulas.grammar import LONGEST, LONGEST_NAME
from analysis.laws.law import Law
from harness.core.errors import InputError
from harness.core.regular import require_regular

LARGEST_FILE = 1_000_000  # bytes: two hundred laws
MOST_ENTRIES = 500  # of a list or a table of a law: a formula has no more names
LARGEST = 1e300  # of a number that is not infinite: its square has a logarithm, its product with a loss is finite
EXAMPLE = (
    '[mine] formula = "E + A/N**alpha" variables = {N = "parameters"} linear = ["E", "A"] '
    "starts = {alpha = [0.05, 1.5]}, each on a line of its own"
)


def laws_of(text: str, trust: bool = False) -> list[Law | InputError]:
    """The law of `FILE.toml:NAME`, or all laws of `FILE.toml`, of a wrong one the error; none for what names no file of
    laws. `trust` a file of Python too. Raises InputError for the one law that is asked for by name and wrong, and for
    a file of which no law is right."""
    for suffix in (".toml", ".py"):
        start, found, name = text.partition(f"{suffix}:")
        path = start + suffix if found else text
        if not path.endswith(suffix):
            continue
        if suffix == ".py" and not trust:
            why = "is Python, and all that stands in it would be run to read a law"
            raise InputError("law", text, why, f"write the law as TOML: {EXAMPLE}; or add --trust, if it is yours")
        known = read_laws(Path(path)) if suffix == ".toml" else _run_laws(Path(path))
        if name and name not in known:
            near = difflib.get_close_matches(name[:LONGEST_NAME], known) or list(known)[:20]
            raise InputError("law", text, f"{Path(path).name} has no law {name}", f"it has {', '.join(near) or 'none'}")
        laws = [_worked_out(known[one], Path(path).name) for one in ([name] if name else known)]
        wrong = [law for law in laws if isinstance(law, InputError)]
        if wrong and len(wrong) == len(laws):
            raise wrong[0]
        return laws
    return []


def _worked_out(law: Law | InputError, source: str) -> Law | InputError:
    """The law; where its formula has no value, or no derivatives that fits need, the error that names both."""
    if isinstance(law, InputError):
        return law
    try:
        formula.basis(law.form)
        formula.derivatives(law.form)
        return law
    except InputError as error:
        return InputError(f"law {law.name} of {source}", error.value, error.why, error.remedy)


def read_laws(path: Path) -> dict[str, Law | InputError]:
    """The laws of a TOML file by their names; of one that is wrong, the error. InputError if it is no such file."""
    try:
        require_regular("law", path)
        if path.stat().st_size > LARGEST_FILE:
            raise InputError("law", path, f"has more than {LARGEST_FILE:,} bytes", "give laws in several files")
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        why = f"cannot be read as TOML ({_one_line(error)})"
        raise InputError("law", path, why, f"write {EXAMPLE}") from None
    if not tables:
        raise InputError("law", path, "has no law", f"write {EXAMPLE}")
    found: dict[str, Law | InputError] = {}
    for name, table in tables.items():
        try:
            found[name] = definition(table, name, path.name, of_a_user=True)
        except InputError as error:
            found[name] = error
    return found


def definition(given: object, name: object, source: str, *, of_a_user: bool = False) -> Law:
    """The law that a table says, from the file `source`. A fit holds the keys of a user's law and the library's own.

    Raises InputError, which names the law and the key.
    """
    field = f"law {name} of {source}"
    if not isinstance(given, Mapping):
        raise InputError(field, given, "is not a table of a law", f"write {EXAMPLE}")
    name = _text(name, field, "name")
    known = USERS if of_a_user else {**USERS, **LIBRARYS}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key)[:LONGEST_NAME], known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise InputError(field, key, "is no key of a law", remedy)
    if missing := [key for key in ("formula", "variables", "linear", "starts") if key not in given]:
        raise InputError(field, ", ".join(missing), "is missing", f"write {EXAMPLE}")
    checked = {key: known[key](value, field, key) for key, value in given.items()}
    try:
        return Law(name=name, **checked)
    except InputError as error:
        value = error.value if error.field.startswith("law ") else f"{error.field} = {error.value}"
        raise InputError(field, value, error.why, error.remedy) from None


def _run_laws(path: Path) -> dict[str, Law | InputError]:
    """The laws that a file of Python makes, by the names it gives them; of one that is wrong, the error.

    Its statements are run one by one, so that a wrong law takes no other with it.
    """
    try:
        require_regular("law", path)
        statements = ast.parse(path.read_bytes(), str(path)).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError("law", path, f"cannot be read ({_one_line(error)})", f"or write TOML: {EXAMPLE}") from None
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    found: dict[str, Law | InputError] = {}
    for statement in statements:
        try:
            exec(compile(ast.Module([statement], []), str(path), "exec", dont_inherit=True), vars(module))
        except (Exception, SystemExit) as error:  # whatever a user's file does
            names = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and _is_set(node)]
            field = f"law {', '.join(names)} of {path.name}" if names else "law"
            wrong = InputError(field, path, f"cannot be loaded ({_one_line(error)})", "mend it")
            if not names:
                raise wrong from None
            found |= dict.fromkeys(names, wrong)
    return {**{name: value for name, value in vars(module).items() if isinstance(value, Law)}, **found}


def _is_set(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _text(value: object, field: str, key: str) -> str:
    if not isinstance(value, str):
        raise InputError(field, f"{key} = {value}", "is not a text", "put it into quotes")
    if len(value) > LONGEST or not value.isprintable():
        raise InputError(field, key, f"is not a text of one line of at most {LONGEST:,} letters", "write a shorter one")
    return value


def _number(value: object, field: str, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(field, f"{key} = {value}", "is not a number", "write it without quotes")
    if isinstance(value, int) and abs(value) > LARGEST:
        value = math.nan
    number = float(value)
    if math.isnan(number) or (math.isfinite(number) and abs(number) > LARGEST):
        raise InputError(field, key, f"is not a number up to {LARGEST:g}, or inf", "give another one")
    return number


def _texts(value: object, field: str, key: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MOST_ENTRIES:
        raise InputError(field, f"{key} = {value}", "is not a list of texts", f'write {key} = ["...", "..."]')
    return tuple(_text(item, field, f"{key}[{i}]") for i, item in enumerate(value))


def _table(value: object, field: str, key: str, of: Callable[[object, str, str], Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > MOST_ENTRIES:
        raise InputError(field, f"{key} = {value}", "is not a table", f"write {key} = {{name = ...}}")
    return {_text(name, field, key): of(item, field, f"{key}.{name}") for name, item in value.items()}


def _ends(value: object, field: str, key: str) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InputError(field, f"{key} = {value}", "is not two numbers", f"write {key} = [low, high]")
    return (_number(value[0], field, key), _number(value[1], field, key))


def _bounds(value: object, field: str, key: str) -> tuple[float, float]:
    """As `_ends`; JSON has no infinity, so that a fit says null."""
    if isinstance(value, list | tuple) and len(value) == 2:
        value = [end if given is None else given for given, end in zip(value, (-math.inf, math.inf), strict=True)]
    return _ends(value, field, key)


Reader = Callable[[object, str, str], Any]
USERS: dict[str, Reader] = {
    "formula": _text,
    "variables": lambda value, field, key: _table(value, field, key, _text),
    "linear": _texts,
    "starts": lambda value, field, key: _table(value, field, key, _ends),
    "bounds": lambda value, field, key: _table(value, field, key, _bounds),
    "log": _texts,
    "requirements": _texts,
    "shares": _texts,
    "source": _text,
}
LIBRARYS: dict[str, Reader] = {"read": _text, "checked": _text}  # that a law is verified is for its tests to say
