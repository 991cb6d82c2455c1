"""The measurements of many runs at once: the rows each asked for, from the states on its path, the deepest first.

Between `harness.store.store`, which verifies the files and sets damaged ones aside, and `analysis.results.runs`. What
`Store.rows` does for one state, row by row, is done here for the states of hundreds of runs in one pass.

    arrays, missing = measurements(store, [Wanted(asked, stops, measures) for ...])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import csv

from analysis.formulas.formula import Integers
from harness.core.errors import CorruptError
from harness.measure.request import RowKey
from harness.store.history import HEADER, Row, rows_to_csv
from harness.store.store import Store

NUMBERS = (
    "position",
    "tokens",
    "windows",
    "loss_sum",
    "token_count",
    "byte_count",
)  # fields of a harness.store.history.Row
# One element a row. `corpus` counts the entries of `Wanted.measures`.
ROWS = np.dtype([(name, "f8" if name == "loss_sum" else "i8") for name in NUMBERS] + [("corpus", "i8")])
BATCH = 256  # runs at a time: what is needed on the way then stays in the cache of the processor
_FIRST = HEADER.encode() + b"\n"
_TYPES = {
    **{name: pyarrow.float64() if name == "loss_sum" else pyarrow.int64() for name in NUMBERS},
    "windows_hash": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
}


@dataclass(frozen=True)
class Wanted:
    """What to read for a run."""

    asked: frozenset[RowKey]  # runs that share the very object are read faster
    stops: Sequence[tuple[int, str]]  # (position, address) of its stored states
    measures: Sequence[tuple[str, str]]  # (corpus, hash of the windows) of its rows; those of others count as found


def measurements(store: Store, wanted: Sequence[Wanted]) -> tuple[list[NDArray[np.void]], list[set[RowKey]]]:
    """Of each run its rows (dtype ROWS, by position and windows hash), and what it asked for that no state holds.

    A state is read only if the deeper ones lack something; of two rows with the same key the first stays.
    """
    arrays: list[NDArray[np.void]] = []
    missing: list[set[RowKey]] = []
    for start in range(0, len(wanted), BATCH):
        found, lacking = _batch(store, wanted[start : start + BATCH])
        arrays += found
        missing += lacking
    return arrays, missing


def _batch(store: Store, wanted: Sequence[Wanted]) -> tuple[list[NDArray[np.void]], list[set[RowKey]]]:
    """`measurements` in rounds: one state for each run that lacks rows, until none does or none has states left."""
    keys = _Keys(wanted)
    history = _History(store, keys)
    queues = [sorted(run.stops) for run in wanted]
    found = rows = np.empty(0, dtype=np.int64)  # keys (see _Keys), and where in `history` their rows are
    short = np.arange(len(wanted))  # runs that lack rows
    while turn := [(run, *queues[run].pop()) for run in short.tolist() if queues[run]]:
        runs, stops, addresses = zip(*turn, strict=True)
        starts, counts = history.spans(addresses)
        at = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        new = keys.of(np.repeat(runs, counts), np.repeat(stops, counts), history.positions[at], history.hashes[at])
        found, rows = _first_of_each(np.concatenate([found, new[new >= 0]]), np.concatenate([rows, at[new >= 0]]))
        lacking = keys.asked_counts - keys.counts(found)
        short = np.array([run for run in runs if lacking[run]], dtype=np.int64)
    return _split(history, keys, wanted, found, rows), keys.missing(found)


def rows_of(array: NDArray[np.void], names: Sequence[tuple[str, str]]) -> list[Row]:
    """The rows of an array of dtype ROWS as values; `names`: `Wanted.measures`."""
    columns = [array[name].tolist() for name in ("position", "tokens", "corpus", *NUMBERS[2:])]
    return [
        Row(position, tokens, names[corpus][0], count, names[corpus][1], *amounts)
        for position, tokens, corpus, count, *amounts in zip(*columns, strict=True)
    ]


class _Keys:
    """(run, position, windows hash) as one integer that sorts in this order; -1 for what the run did not ask for."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        distinct = {id(run.asked): run.asked for run in wanted}
        number = {key: n for n, key in enumerate(distinct)}
        self.asked = list(distinct.values())
        self.list_of = np.array([number[id(run.asked)] for run in wanted], dtype=np.int64)
        self.asked_counts = np.array([len(keys) for keys in self.asked], dtype=np.int64)[self.list_of]
        self.hashes = sorted({hash_ for keys in self.asked for _, hash_ in keys})
        self.code = {hash_: code for code, hash_ in enumerate(self.hashes)}
        self.positions = 1 + max((position for keys in self.asked for position, _ in keys), default=0)
        self.span = self.positions * max(len(self.hashes), 1)  # of the keys of a run

    @cached_property
    def _wanted(self) -> Integers:
        """Key and list of everything that was asked for, as one sorted array."""
        each = (n * self.span + p * len(self.hashes) + self.code[h] for n, a in enumerate(self.asked) for p, h in a)
        return np.sort(np.fromiter(each, dtype=np.int64))

    def of(self, runs: Integers, stops: Integers, positions: Integers, hashes: Integers) -> Integers:
        """Keys of rows, each of a run that looks for rows up to a position; `hashes` are codes, -1 if unknown."""
        if not len(self._wanted):
            return np.full(len(runs), -1)
        key = positions * len(self.hashes) + hashes
        good = (hashes >= 0) & (positions <= stops) & (positions < self.positions)
        asked = self.list_of[runs] * self.span + key
        place = np.minimum(np.searchsorted(self._wanted, asked), len(self._wanted) - 1)
        return np.where(good & (self._wanted[place] == asked), runs * self.span + key, -1)

    def counts(self, keys: Integers) -> Integers:
        return np.bincount(keys // self.span, minlength=len(self.list_of))

    def missing(self, keys: Integers) -> list[set[RowKey]]:
        """Of each run what it asked for that is not among the sorted `keys`."""
        counts = self.counts(keys)
        ends = np.cumsum(counts)
        missing: list[set[RowKey]] = []
        for run, (number, count, end) in enumerate(zip(self.list_of.tolist(), counts, ends, strict=True)):
            asked = self.asked[number]
            if count == len(asked):
                missing.append(set())
                continue
            found = (divmod(key - run * self.span, len(self.hashes)) for key in keys[end - count : end].tolist())
            missing.append(set(asked.difference((position, self.hashes[code]) for position, code in found)))
        return missing


class _History:
    """The rows of every state read so far, as columns, one state after the other."""

    def __init__(self, store: Store, keys: _Keys) -> None:
        self.store, self.code = store, keys.code
        self.columns = {name: np.empty(0, dtype=ROWS[name]) for name in NUMBERS}
        self.hashes = np.empty(0, dtype=np.int64)  # codes of _Keys, -1 for others
        self._spans: dict[str, tuple[int, int]] = {}
        self._length = 0

    @property
    def positions(self) -> Integers:
        return self.columns["position"]

    def spans(self, addresses: Sequence[str]) -> tuple[Integers, Integers]:
        """Where the rows of each state start, and how many they are; those not read yet are read."""
        new = [address for address in dict.fromkeys(addresses) if address not in self._spans]
        table = self._read(new)
        for name, before in self.columns.items():
            self.columns[name] = np.concatenate([before, table[name].to_numpy()])
        codes = [self._codes(chunk.dictionary.to_pylist())[chunk.indices] for chunk in table["windows_hash"].chunks]
        self.hashes = np.concatenate([self.hashes, *codes])
        spans = np.array([self._spans[address] for address in addresses], dtype=np.int64)
        return spans[:, 0], spans[:, 1]

    def _read(self, addresses: Sequence[str]) -> pyarrow.Table:
        files = {address: self.store.histories(address, _whole) for address in addresses}
        try:
            table = _parsed([file for each in files.values() for file in each])
        except pyarrow.ArrowInvalid:  # a damaged file with the right checksum: the store looks at them one by one
            files = {address: [rows_to_csv(self.store.rows(address)).encode()] for address in addresses}
            table = _parsed([file for each in files.values() for file in each])
        for address, each in files.items():
            count = sum(file.count(b"\n") - 1 for file in each)
            self._spans[address] = (self._length, count)
            self._length += count
        return table

    def _codes(self, hashes: Sequence[str]) -> Integers:
        return np.array([self.code.get(hash_, -1) for hash_ in hashes], dtype=np.int64)


def _whole(content: bytes, source: str) -> bytes:
    """The content of a table of evaluations, of which no more than both ends are looked at."""
    content.decode()  # the UnicodeDecodeError that `Store.rows` meets
    if not (content.startswith(_FIRST) and content.endswith(b"\n")):
        raise CorruptError(f"{source}: not a complete table of evaluations")
    return content


def _parsed(files: Sequence[bytes]) -> pyarrow.Table:
    """The rows of all files together. ArrowInvalid if one of them is not as `rows_to_csv` writes it."""
    table = csv.read_csv(
        pyarrow.BufferReader(b"".join([_FIRST, *(memoryview(file)[len(_FIRST) :] for file in files)])),
        csv.ReadOptions(use_threads=False),
        csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        csv.ConvertOptions(column_types=_TYPES, include_columns=list(_TYPES), null_values=[]),
    )
    if table.num_rows != sum(file.count(b"\n") - 1 for file in files):
        raise pyarrow.ArrowInvalid("a line ends otherwise")
    if not (np.isfinite(table["loss_sum"]) & (table["token_count"].to_numpy() > 0)).all():
        raise pyarrow.ArrowInvalid("a loss is not finite, or is of no tokens")
    return table


def _first_of_each(keys: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """Sorted distinct keys, each with the first of its rows."""
    if (keys[1:] > keys[:-1]).all():
        return keys, rows
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    first = np.concatenate([[True], keys[1:] > keys[:-1]])
    return keys[first], rows[first]


def _split(
    history: _History, keys: _Keys, wanted: Sequence[Wanted], found: Integers, rows: Integers
) -> list[NDArray[np.void]]:
    """Of each run the rows found that are of its windows."""
    numbers = np.full((len(wanted), max(len(keys.hashes), 1)), -1)  # (run, code of a hash) -> which corpus of the run
    for run, one in enumerate(wanted):
        for number, (_, hash_) in enumerate(one.measures):
            numbers[run, keys.code[hash_]] = number
    runs = found // keys.span
    corpora = numbers[runs, history.hashes[rows]]
    mine = corpora >= 0
    array = np.empty(int(mine.sum()), dtype=ROWS)
    for name, column in history.columns.items():
        array[name] = column[rows[mine]]
    array["corpus"] = corpora[mine]
    ends = np.cumsum(np.bincount(runs[mine], minlength=len(wanted))).tolist()
    return [array[start:end] for start, end in zip([0, *ends], ends, strict=False)]
