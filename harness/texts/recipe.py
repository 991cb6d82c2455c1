"""What a corpus is made of, and its key, without building it.

Hashes and package versions only; no tokenizer, no parsing, no torch. A plan needs nothing more, so planning works
before anything was ingested. `harness.ingest` builds what a recipe says.

    recipe = embedded("docs")                                       # from the installed packages
    recipe = local("upstream", "data/up", companions={"upstream": "data/up", "downstream": "data/down"})
    recipe.key                                                      # 32 hex, enters every program that trains on it
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from harness.core.errors import InputError
from harness.core.files import sha256_once
from harness.core.identity import digest
from harness.core.regular import require_regular
from harness.formats.reading import suffix_of
from harness.texts.listed import FilesSource, MegatronSource
from harness.texts.text_files import text_files

CORPUS_CODE = 1
"""Raised whenever the same sources would give other tokens: extraction, cleaning, split, tokenizer, packing."""

END_OF_DOCUMENT = "<|endoftext|>"
VOCAB_SIZE = 2048
MINIMAL_VOCAB_SIZE = 257  # 256 bytes and the end of a document
NOT_ADDRESSED = {"address": False}  # fields that say where something lies, not what it is

# Share of the files that are read: 7.5, 4.4, 3.7, 2.1, 4.3, 4.2 M training tokens, 10 to 25 s of one core for each.
DEFAULT_SAMPLE = {"docs": 0.7, "python": 0.2, "cpp": 0.7, "sympy": 0.7, "systems": 0.7, "science": 1}
# Share of the documents held out: what gives at least 1,000 windows of 128 tokens at the default sample.
VALIDATION_SHARE = {"docs": 0.02, "python": 0.05, "cpp": 0.04, "sympy": 0.07, "systems": 0.05, "science": 0.05}
LOCAL_VALIDATION_SHARE = 0.02
LONGEST_DOCUMENT = 64_000_000  # bytes of one local document, as it stands in its file; longer ones are refused
# What the tokenizer of all embedded corpora is trained on. One that is added is tokenized by it, too: no key moves.
TOKENIZER_CORPORA = ("cpp", "docs", "python", "sympy")

# Distributions of requirements.lock whose files are read; the standard library comes on top.
PACKAGES = (
    "accelerate",
    "datasets",
    "fonttools",
    "fsspec",
    "huggingface-hub",
    "hydra-core",
    "jinja2",
    "matplotlib",
    "mpmath",
    "networkx",
    "numpy",
    "omegaconf",
    "pandas",
    "pillow",
    "pyarrow",
    "pygments",
    "pyparsing",
    "requests",
    "rich",
    "scipy",
    "setuptools",
    "sympy",
    "torch",
    "transformers",
    "urllib3",
)
SYMPY_PACKAGES = ("mpmath", "sympy")  # their code is a corpus of its own, so `python` leaves it out
CPP_PACKAGES = ("numpy", "pyarrow", "torch")


@dataclass(frozen=True)
class TokenizerRecipe:
    """A byte-level BPE trained on `trained_on` (corpus names or file contents), or a given file (its sha256)."""

    vocab_size: int
    trained_on: tuple[str, ...] = ()
    file: str = ""
    end_of_document: str = END_OF_DOCUMENT
    path: str = field(default="", metadata=NOT_ADDRESSED)  # of the given tokenizer.json
    # (name, path, text column) of each content in trained_on
    companions: tuple[tuple[str, str, str], ...] = field(default=(), metadata=NOT_ADDRESSED)


@dataclass(frozen=True)
class EmbeddedSource:
    """Text of installed packages: a share of the files, chosen by a hash of package and path."""

    corpus: str
    sample: float
    packages: tuple[str, ...]  # "numpy 2.4.6", all of PACKAGES, since the tokenizer is trained on all of them
    python: str


@dataclass(frozen=True)
class LocalSource:
    """A user's files in reading order, by content; where they lie and what they are called does not matter."""

    files: tuple[str, ...]  # "jsonl <sha256>"
    text: str  # name of the text column
    path: str = field(default="", metadata=NOT_ADDRESSED)
    longest_document: int = field(default=LONGEST_DOCUMENT, metadata=NOT_ADDRESSED)  # only ever refuses


@dataclass(frozen=True)
class Recipe:
    """One corpus; the same data under two names has one key."""

    name: str = field(metadata=NOT_ADDRESSED)
    """What this run calls it; no part of the key."""
    source: EmbeddedSource | LocalSource | FilesSource | MegatronSource
    """Which texts."""
    tokenizer: TokenizerRecipe
    """How they become tokens."""
    validation: float
    """Share of the documents held out, by hash of the document."""
    code: int
    """CORPUS_CODE when it was made."""

    @functools.cached_property
    def key(self) -> str:
        """32 hex characters over sources, sample, split, cleaning and tokenizer."""
        return digest(self)

    @property
    def folder(self) -> str:
        """Name of the folder below <root>/corpora: whatever the data is called, it is there once."""
        return self.key[:12]

    @property
    def vocab_size(self) -> int:
        """Number of token ids, known before the tokenizer is trained."""
        return self.tokenizer.vocab_size


def embedded(
    name: str,
    *,
    sample: float | None = None,
    vocab_size: int = VOCAB_SIZE,
    tokenizer: str | Path | TokenizerRecipe | None = None,
    validation: float | None = None,
) -> Recipe:
    """The recipe of a corpus of `DEFAULT_SAMPLE`; `sample` 1 takes every file. Raises InputError."""
    if name not in DEFAULT_SAMPLE:
        near = difflib.get_close_matches(name, DEFAULT_SAMPLE, n=1, cutoff=0.0)[0]
        raise InputError("corpus", name, "no such embedded corpus", f"did you mean {near}? ({_listed(DEFAULT_SAMPLE)})")
    sample = DEFAULT_SAMPLE[name] if sample is None else sample
    if not 0 < sample <= 1:
        raise InputError("corpus.sample", sample, "not a share of the files", "give more than 0 and at most 1")
    source = EmbeddedSource(name, sample, installed_packages(), platform.python_version())
    trained = TokenizerRecipe(_vocab_size(vocab_size), TOKENIZER_CORPORA)
    share = _validation(VALIDATION_SHARE[name] if validation is None else validation)
    return Recipe(name, source, given_tokenizer(tokenizer) if tokenizer else trained, share, CORPUS_CODE)


def local(
    name: str,
    path: str | Path,
    *,
    text: str = "text",
    vocab_size: int = VOCAB_SIZE,
    companions: Mapping[str, str | Path] | None = None,
    texts: Mapping[str, str] | None = None,
    tokenizer: str | Path | TokenizerRecipe | None = None,
    validation: float | None = None,
    longest_document: int = LONGEST_DOCUMENT,
) -> Recipe:
    """The recipe of a file or folder of yours. `companions` = name -> path of all that the tokenizer is trained on,
    itself always; `texts` = name -> field of their texts, where it is not `text`. Of the same ones upstream and
    downstream get one tokenizer. `field_of` the name is what an InputError names."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError("shift.further", name, "not a name for a folder", "use letters, digits, . _ and -")
    source = LocalSource(content_of(path, field_of(name)), text, str(path), longest_document)
    share = _validation(LOCAL_VALIDATION_SHARE if validation is None else validation)
    if tokenizer:
        return Recipe(name, source, given_tokenizer(tokenizer), share, CORPUS_CODE)
    # One entry per content, sorted: the order in which corpora are named must not change the vocabulary.
    places, everything = {name: path, **(companions or {})}, dict[str, tuple[str, str, str]]()
    of = {other: (texts or {}).get(other, text) for other in places} | {name: text}
    for other, place in places.items():
        content = _combined(content_of(place, field_of(other)), of[other] if len({*of.values()}) > 1 else "text")
        everything.setdefault(content, (other, str(place), of[other]))
    ordered = sorted(everything.items())
    trained = TokenizerRecipe(
        _vocab_size(vocab_size),
        tuple(content for content, _ in ordered),
        companions=tuple(place for _, place in ordered),
    )
    return Recipe(name, source, trained, share, CORPUS_CODE)


def field_of(name: str) -> str:
    """The field that gives the path of a corpus of one's own."""
    return name if name in ("upstream", "downstream") else f"shift.further.{name}"


def given_tokenizer(path: str | Path | TokenizerRecipe) -> TokenizerRecipe:
    """A tokenizer.json, or a folder that holds one. Its end-of-document token is found by name. Raises InputError."""
    if isinstance(path, TokenizerRecipe):  # of a checkpoint that is not resolved yet
        return path
    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    try:
        require_regular("tokenizer", file)
        content = file.read_bytes()
    except OSError as error:
        why = f"no tokenizer.json there ({error.strerror})"
        raise InputError("tokenizer", path, why, "give a tokenizer.json or a folder holding one") from None
    try:
        described = json.loads(content)
        added = {str(token["content"]): int(token["id"]) for token in described.get("added_tokens") or []}
        vocabulary = described["model"]["vocab"]
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        vocab_size = max([*ids, *added.values()]) + 1
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError("tokenizer", path, "not a tokenizer.json", "give a file saved by tokenizers") from error
    end = _configured_end(file.parent / "tokenizer_config.json")
    usual = (end, END_OF_DOCUMENT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|im_end|>", "[SEP]")
    found = next((token for token in usual if token in added), None)
    if found is None:
        raise InputError("tokenizer", path, "has no end-of-document token", f"add {END_OF_DOCUMENT} as a special token")
    return TokenizerRecipe(vocab_size, (), hashlib.sha256(content).hexdigest(), found, str(file))


@functools.lru_cache(maxsize=1)
def installed_packages() -> tuple[str, ...]:
    """`PACKAGES` with their versions. Raises InputError for one that is missing."""
    try:
        return tuple(f"{package} {metadata.version(package)}" for package in PACKAGES)
    except metadata.PackageNotFoundError as error:
        raise InputError(
            "corpus",
            error.name,
            "the embedded corpora are read from it and it is not installed",
            "pip install -r requirements.lock",
        ) from error


def corpus_folder(root: Path, recipe: Recipe | str) -> Path:
    """Where a corpus (or that of a key) is, or would be; one of an older version has a name of it before its key."""
    own = root / "corpora" / (recipe if isinstance(recipe, str) else recipe.key)[:12]
    older = [] if own.is_dir() else sorted((root / "corpora").glob(f"[!.]*-{own.name}"))
    return next((folder for folder in older if folder.is_dir()), own)


def content_of(path: str | Path, field_name: str) -> tuple[str, ...]:
    """`<format> <sha256>` of each data file, in reading order. Raises InputError."""
    described = []
    for file in text_files(path, field_name).files:
        try:
            described.append(f"{suffix_of(file)} {sha256_once(file)}"[1:])
        except OSError as error:
            raise InputError(field_name, file, f"cannot be read ({error.strerror})", "check its permissions") from error
    return tuple(described)


def _combined(files: tuple[str, ...], text: str = "text") -> str:
    """Of contents, and of the field of their texts where corpora differ in it."""
    return hashlib.sha256("\n".join(files if text == "text" else (*files, text)).encode()).hexdigest()[:32]


def _configured_end(file: Path) -> str:
    """The end-of-document token by the file beside a tokenizer, if there is one."""
    if not file.exists():
        return ""
    try:
        require_regular("tokenizer", file)
        token = json.loads(file.read_text(encoding="utf-8")).get("eos_token") or ""
        return str(token.get("content", "")) if isinstance(token, dict) else str(token)
    except InputError:
        raise
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def _vocab_size(value: int) -> int:
    if value < MINIMAL_VOCAB_SIZE:
        why = f"a byte-level vocabulary has at least {MINIMAL_VOCAB_SIZE} tokens"
        raise InputError("corpus.vocab_size", value, why, f"give more, for instance {VOCAB_SIZE}")
    return value


def _validation(value: float) -> float:
    if not 0 < value < 1:
        raise InputError("validation", value, "not a share of the documents", "give more than 0, less than 1")
    return value


def _listed(names: Mapping[str, float] | tuple[str, ...]) -> str:
    return ", ".join(names)
