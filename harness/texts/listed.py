"""What a corpus of listed files is made of: files that stay where they are until they are fetched, known by a listing.

Beside `EmbeddedSource` and `LocalSource` of `harness.texts.recipe`, for data of any size: a plan needs the listing
alone (names, sizes and the versions that their server gives), no file is opened for it. `harness.ingest` fetches,
builds and assembles what a source says.

    source = FilesSource(train=listing(files), parts=(Part("C4", 0.27, where=(("meta.set", ("C4",)),)), ...))
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from harness.core.identity import digest

UNIT_BYTES = 1 << 30  # of text: what one job builds at a time, so that a kill costs minutes


@dataclass(frozen=True)
class ListedFile:
    """One file as its server lists it."""

    name: str
    """Path below the root of its listing; files are read in the order of their names."""
    size: int
    """Bytes, as it lies there (compressed, if it is)."""
    version: str
    """What changes when it does: `sha256 HEX` (files here, hubs), `etag TEXT` (buckets, web servers)."""
    url: str = field(default="", metadata={"address": False})
    """Where it is read from: a path here, or a URL that fsspec opens."""


@dataclass(frozen=True)
class Listing:
    """The files of one split. Only the digest over names, sizes and versions is addressed: 60,000 files stay cheap."""

    digest: str
    files: tuple[ListedFile, ...] = field(default=(), metadata={"address": False}, repr=False, compare=False)

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Part:
    """One source of a corpus: the records that `where` picks, and their share of the stream."""

    name: str
    """What it is called, for counts and losses of its own."""
    weight: float | None = None
    """Share of the sequences drawn from the corpus, in (0, 1], in sum 1; None: as many as its text gives."""
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(field of a record, dots for nesting; values that belong to the part); all must hold. (): every record."""


@dataclass(frozen=True)
class FilesSource:
    """Texts of listed files, in parts. Neutral values of later fields keep a corpus' key."""

    train: Listing
    """The files to train on; also held out from, where `validation` is None."""
    parts: tuple[Part, ...]
    """At least one. Several with weights make a mixture that holds at any position; without, one stream."""
    validation: Listing | None = None
    """The data's own split; None: a share of the documents, by hash (`Recipe.validation`)."""
    text: str = "text"
    """Field of a record that holds the text, dots for nesting."""
    format: str = ""
    """One of `harness.formats.reading.SUFFIXES` for all files; empty: by the suffix of each."""
    tokens: int | None = None
    """Budget of training tokens: whole units in a fixed shuffled order, the last one cut exactly; None: all."""
    unit_bytes: int = UNIT_BYTES
    """Bytes of text in a unit; decides where a budget ends, so it is part of what the corpus is."""
    longest_document: int = field(default=64_000_000, metadata={"address": False})
    """Bytes of one document as it stands in its file; only ever refuses."""
    cut_for: tuple[Part, ...] = field(default=(), metadata={"address": False})
    """All parts of the corpus that this is one part of, which its units are cut for: all parts read the same units, and
    the whole corpus, too. (): `parts`."""

    @property
    def parts_of_units(self) -> tuple[Part, ...]:
        return self.cut_for or self.parts

    @property
    def numbers(self) -> tuple[int, ...]:
        """The places of `parts` among those of its units, which name the shards."""
        names = [part.name for part in self.parts_of_units]
        return tuple(names.index(part.name) for part in self.parts)

    @property
    def tokens_read(self) -> float | None:
        """Training tokens, of all parts of its units, that it takes to have the budget, about; None: no budget."""
        if self.tokens is None or not self.cut_for:
            return self.tokens
        weights = [part.weight for part in self.cut_for if part.name == self.parts[0].name]
        return self.tokens / (weights[0] or 1 / len(self.cut_for))  # without weights nobody knows its share


@dataclass(frozen=True)
class MegatronSource:
    """Sequences of tokens that another program drew, in its order: Megatron's .idx and .bin (`format: megatron`).

    Window w is sequence w: all of its tokens, none of its neighbours'. Its tokens are read where they lie, or
    where they were fetched to.
    """

    train: Listing
    """Pairs of an .idx and a .bin, which may be cut into parts; read in the order of their names."""
    sequence: int = 2049
    """Tokens of every sequence: the one `batch.seq_len` that can be trained on, and one more."""
    validation: Listing | None = None
    """Pairs of their own, or texts; None: the last of the sequences, as many as `Recipe.validation` says."""
    text: str = "text"
    """Of texts to validate on: field of a record that holds the text."""
    format: str = ""
    """Of texts to validate on: as of `FilesSource`."""


def listing(files: Iterable[ListedFile]) -> Listing:
    """The files in reading order (by name) with the digest over names, sizes and versions."""
    ordered = tuple(sorted(files, key=lambda file: file.name))
    return Listing(digest([(file.name, file.size, file.version) for file in ordered]), ordered)


def key_of(name: str, source: FilesSource | MegatronSource) -> str:
    """`corpus.NAME`, below which a config has the keys of a corpus; a part that is read alone is called NAME.PART."""
    parts = source.parts if isinstance(source, FilesSource) else ()
    return f"corpus.{name.removesuffix(f'.{parts[0].name}') if len(parts) == 1 else name}"


def part_key(name: str, source: FilesSource, part: str) -> str:
    """The key of a config that says which records belong to a part."""
    one = next(one for one in source.parts if one.name == part)
    return f"{key_of(name, source)}.parts.{part}" + (".where" if one.where else "")


def validation_alone(source: FilesSource | MegatronSource) -> FilesSource | MegatronSource | None:
    """The same source with its own validation files and none to train on; None where validation is cut out of those."""
    if source.validation is None:
        return None
    if isinstance(source, MegatronSource):
        return replace(source, train=listing(()))
    return replace(source, train=listing(()), tokens=None)


def without_files(source: FilesSource) -> FilesSource:
    """The same source, as it is addressed, without the lists of its files: what trains and measures needs no more."""
    validation = source.validation and Listing(source.validation.digest)
    return replace(source, train=Listing(source.train.digest), validation=validation)
