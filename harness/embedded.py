"""The embedded corpora: text of the installed packages and the standard library, read as files, never imported.

Level 4, above `extract`. `docs` is docstrings, comments and prose documentation; `python` is code without them; `cpp`
is the C++ headers that torch, pyarrow and numpy ship; `sympy` is code of sympy and mpmath. Files come in the order of
a hash of their names, so a smaller sample is the beginning of a larger one, whatever the machine.

    for document in documents("docs", 0.5, map): ...
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from harness import extract
from harness.errors import InputError
from harness.recipe import CPP_PACKAGES, PACKAGES, SYMPY_PACKAGES
from harness.sources import Document

OrderedMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]  # `map`, or a pool's ordered one
NamedFile = tuple[str, str]  # (name relative to site-packages or the standard library, where it is)
Blocks = list[tuple[bytes, str]]  # (8-byte hash of what deduplication compares or b"", text)

_SKIPPED_PARTS = frozenset(
    # Tests; copies of other packages; tables without text.
    "tests test testing _tests idle_test conftest.py _vendor vendor vendored extern externals _externals encodings "
    "__pycache__ lib2to3 pydoc_data _distutils site-packages dist-packages unicodedata".split()
)
_SKIPPED_PREFIXES = (
    "transformers/models/",  # near copies of one another: they would leak from training into validation
    "torch/include/ATen/ops/",  # generated, one operator in five headers
    "torch/include/ATen/RedispatchFunctions.h",  # Functions.h once more
    "pygments/lexers/",  # word lists
    "matplotlib/_cm",  # colour tables
    "_sysconfigdata",  # the machine it was built on
)
_CHUNK_BYTES = 1 << 19
_SHORTEST_DOCUMENT = 200  # characters
_HEADERS = (".h", ".hpp", ".cuh")


def documents(corpus: str, sample: float, ordered_map: OrderedMap = map) -> Iterator[Document]:
    """The deduplicated documents of one corpus, one per file, in a fixed order.

    A block that occurred before (in training or validation) is left out; the first one stays. `ordered_map` runs
    `extract_files` over chunks of files, in order, wherever it likes.
    """
    seen: set[bytes] = set()
    chunks = ((corpus, chunk) for chunk in _chunks(sampled(corpus, sample)))
    for extracted in ordered_map(extract_files, chunks):
        for name, blocks in extracted:
            kept = []
            for digest, block in blocks:
                if digest not in seen:
                    kept.append(block)
                    if digest:
                        seen.add(digest)
            text = "\n\n".join(kept)
            yield Document(name, 0, text if len(text) >= _SHORTEST_DOCUMENT else "")


def sampled(corpus: str, sample: float) -> list[NamedFile]:
    """The files of a corpus whose place in the hash order is below `sample`, in that order."""
    placed = sorted((_place(name), name, path) for name, path in _files(corpus))
    return [(name, path) for place, name, path in placed if place < sample]


def extract_files(task: tuple[str, list[NamedFile]]) -> list[tuple[str, Blocks]]:
    """(name, blocks) of each file, deduplicated by nobody yet. Files that are not UTF-8 hold none."""
    corpus, files = task
    return [(name, _blocks(corpus, name, path)) for name, path in files]


def _blocks(corpus: str, name: str, path: str) -> Blocks:
    try:
        text = Path(path).read_bytes().decode()
    except UnicodeDecodeError:
        return []
    except OSError as error:
        why = f"{name} of an installed package cannot be read ({error.strerror})"
        raise InputError("corpus", corpus, why, "install the package again") from error
    if name.endswith(".py"):
        prose, code = extract.python_blocks(text)
    elif name.endswith(_HEADERS):
        prose, code = extract.cpp_blocks(text)
    else:
        prose, code = extract.paragraphs(text), []
    blocks = []
    for block in prose if corpus == "docs" else code:
        compared = extract.normalised(block)
        blocks.append((hashlib.blake2b(compared, digest_size=8).digest() if compared else b"", block))
    return blocks


def _files(corpus: str) -> Iterator[NamedFile]:
    if corpus in ("docs", "python"):
        yield from _standard_library()
    packages = {"docs": PACKAGES, "cpp": CPP_PACKAGES, "sympy": SYMPY_PACKAGES}.get(corpus)
    suffixes = {"docs": (".py", *_HEADERS, ".md", ".rst"), "cpp": _HEADERS}.get(corpus, (".py",))
    for package in packages or [p for p in PACKAGES if p not in SYMPY_PACKAGES]:
        distribution = metadata.distribution(package)
        for file in distribution.files or []:
            name = file.as_posix()
            described = corpus == "docs" and name.endswith(".dist-info/METADATA")
            if described or (name.endswith(suffixes) and _wanted(file)):
                yield name, str(distribution.locate_file(file))


def _standard_library() -> Iterator[NamedFile]:
    base = Path(sysconfig.get_path("stdlib"))
    for file in base.rglob("*.py"):
        name = PurePosixPath(file.relative_to(base).as_posix())
        if _wanted(name):
            yield str(name), str(file)


def _wanted(file: PurePosixPath) -> bool:
    return (
        not _SKIPPED_PARTS.intersection(file.parts)
        and not file.name.startswith("test_")
        and not str(file).startswith(_SKIPPED_PREFIXES)
    )


def _place(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def _chunks(files: list[NamedFile]) -> Iterator[list[NamedFile]]:
    chunk: list[NamedFile] = []
    size = 0
    for name, path in files:
        chunk.append((name, path))
        size += Path(path).stat().st_size if Path(path).exists() else 0
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
