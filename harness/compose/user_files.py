"""YAML files, the program's own and those of a user's folder (`-cd FOLDER`): checked as text before Hydra makes
anything of them.

Hydra and OmegaConf end in tracebacks, or never, on files that are no UTF-8, tabs, tags, or anchors that multiply; here
each is one line that names file and line. `checked` reads a file; `Files` is how Hydra asks for it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.compose.overrides import MOST_LEVELS
from harness.core.errors import InputError

MOST_VALUES = 1_000_000  # of a file once its anchors are written out; a hundred times the largest grid that fits a page
TAGS = "tag:yaml.org,2002:"


class Files(FileConfigSource):
    """Hydra's source of files. Each is parsed once, though Hydra asks for it with every set of choices."""

    @staticmethod
    def scheme() -> str:
        return "checked"

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            raise ConfigLoadError(f"Config not found : {file}")
        stat = file.stat()
        header, content = _parsed(file, stat.st_mtime_ns, stat.st_size)
        return ConfigResult(
            config=OmegaConf.create(content),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=self._get_header_dict(header),
        )


def read(file: Path) -> Any:
    """What a YAML file says, nothing that `${...}` names filled in. Raises InputError with its line."""
    return OmegaConf.to_container(_made(file, checked(file)), resolve=False)


@cache
def _parsed(file: Path, *_: int) -> tuple[str, Any]:
    """The beginning of a file, where Hydra looks for its package, and what it says. `_`: what tells a changed one."""
    text = checked(file)
    return text[:512], OmegaConf.to_container(_made(file, text), resolve=False)


def _made(file: Path, text: str) -> Any:
    try:
        return OmegaConf.create(text)  # its own loader: 1e-3 is a number
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:  # a key twice, or one that is a list
        raise refusal(file, error) from None


def checked(file: Path) -> str:
    """The text of a YAML file that can be read and does not multiply. Raises InputError with its line."""
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise _refused(file, None, f"cannot be read ({error.strerror})", "check its permissions") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        raise _refused(file, line, f"byte {content[error.start]:#x} is not UTF-8", SAVE) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise refusal(file, error) from None
    if root is None:
        return text
    if not isinstance(root, yaml.MappingNode):
        raise _refused(file, root.start_mark.line, "not a mapping of keys", "give `key: value` lines")
    try:
        size, levels = _written_out(file, root, {})
    except RecursionError as error:
        raise refusal(file, error) from None
    if levels > MOST_LEVELS:
        raise _refused(file, None, f"nested {levels} levels deep, more than {MOST_LEVELS}", "use fewer levels")
    if size > MOST_VALUES:
        why = f"its anchors write out to {size:.3g} values, more than {MOST_VALUES:,}"
        raise _refused(file, None, why, "use fewer anchors inside each other")
    _refuse_odd(file, root, set())
    for key, node in root.value:
        names = [entry.value for entry in node.value if entry.id == "scalar"] if node.id == "sequence" else []
        if key.value == "defaults" and "_self_" in names[:-1]:
            why = f"in its defaults {names[-1]} comes after _self_ and overrides what the file sets"
            raise _refused(file, node.start_mark.line, why, "put _self_ last")
    return text


SAVE = "save the file as UTF-8"


def refusal(file: Path, error: Exception) -> InputError:
    """A parser's complaint as one line with file and line."""
    if isinstance(error, RecursionError):
        return _refused(file, None, "nested too deeply to be read", "use fewer levels")
    if isinstance(error, yaml.reader.ReaderError):
        before = file.read_bytes().decode("utf-8-sig")[: error.position]
        return _refused(file, before.count("\n"), f"character {error.character:#x} is not allowed in YAML", SAVE)
    mark, why = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or error)
    if isinstance(error, OmegaConfBaseException):  # its further lines tell of its own objects
        key = getattr(error, "full_key", None)
        why = why.split("\n")[0] + (f" (key {key})" if key else "")
    line: int | None = None if mark is None else mark.line
    if "'\\t'" in why:
        return _refused(file, line, "a tab where YAML wants blanks", "indent with blanks")
    return _refused(file, line, " ".join(why.split()), "see this line and the one before it")


def _refused(file: Path, line: int | None, why: str, remedy: str) -> InputError:
    return InputError("file", file if line is None else f"{file}, line {line + 1}", why, remedy)


def _refuse_odd(file: Path, node: Any, seen: set[int]) -> None:
    """Tags, which could make any object, and `???`, which OmegaConf would fill with the default."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if not node.tag.startswith(TAGS) or "python" in node.tag:
        raise _refused(file, node.start_mark.line, f"a YAML tag ({node.tag}), which no config has", "leave the tag out")
    if node.value == "???":
        raise _refused(file, node.start_mark.line, "??? stands for a value that is still to be given", "give it")
    for child in _children(node):
        _refuse_odd(file, child, seen)


def _written_out(file: Path, node: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Values below a node, each alias counted as what it stands for, and how many levels of them."""
    if id(node) in known:
        if known[id(node)] == (0, 0):
            raise _refused(file, node.start_mark.line, "an anchor that contains itself", "write the value out")
        return known[id(node)]
    known[id(node)] = 0, 0  # being counted
    below = [_written_out(file, child, known) for child in _children(node)]
    known[id(node)] = 1 + sum(size for size, _ in below), 1 + max((levels for _, levels in below), default=0)
    return known[id(node)]


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
