"""How sure the end of a run is: from the losses of its single windows, the sampling errors of losses and differences.

Beside `analysis.results.runs`, whose final losses are means over windows of a corpus; here is what other windows of it
would have given. The windows of all runs are the same ones, so errors of a difference are those of the *paired*
differences, window by window: smaller by far than those of two losses. What seeds do is not among them.

    windows = WindowReader(store)
    ends = windows.of(run, "docs")                        # losses of base and end, window by window; None: not kept
    forgetting(ends), forgetting(ends, other)               # an Estimate: value and sampling error; of one arm, of two
    mean(ends.end.part(ends.end.window < 100))            # any subset
    difference(average(seeds_of_one), average(seeds_of_other))    # what windows leave in a mean over seeds

States do not outlive a machine: `windows_table` puts these losses into one small table, which
`python -m paper_figures --freeze NAME` writes to NAME_windows.parquet beside NAME.csv, and `FrozenWindows` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.formulas.formula import Array, Integers
from analysis.results.run_record import RunRecord
from analysis.results.table_files import read_file
from harness.core.errors import InputError
from harness.store.store import Store
from harness.store.windows import WindowHistory, WindowLosses, merged

# A row a window: of the end of a run, or, with the address of a base as `run`, of where it ended, once for all of
# its runs. In the order of the windows; `loss` in nats per token; `clean` is null where nobody has looked.
FROZEN_COLUMNS = ("run", "corpus", "windows_hash", "window", "tokens", "bytes", "loss", "clean")


@dataclass(frozen=True, eq=False)
class Windows:
    """What was measured at one position, window by window: arrays of the same length."""

    hash: str
    """Which windows these are: equal ones may be paired."""
    window: Integers
    """Their numbers in the validation split."""
    loss_sum: Array
    """Nats, over `tokens` predicted tokens."""
    tokens: Integers
    """Predicted tokens of each."""
    bytes: Integers
    """Of the text that these stand for."""
    clean: NDArray[np.bool_] | None = None
    """Which of them share little with what was trained on; None: nobody has looked."""

    def part(self, chosen: NDArray[np.bool_]) -> Windows:
        """The windows of a mask. InputError if it chooses fewer than two, of which there is no error."""
        if chosen.sum() < 2:
            raise InputError("windows", int(chosen.sum()), "no sampling error of so few", "choose more")
        arrays = {name: getattr(self, name)[chosen] for name in ("window", "loss_sum", "tokens", "bytes")}
        return replace(self, **arrays, clean=None if self.clean is None else self.clean[chosen])


@dataclass(frozen=True, eq=False)
class Ends:
    """A corpus of a run where its base ended and where it did itself."""

    end: Windows
    """At the last position."""
    base: Windows | None
    """At its base's; None: from scratch."""


@dataclass(frozen=True)
class Estimate:
    """A mean over windows, in nats per token."""

    value: float
    se: float
    """Its standard error, had other windows of the corpus been drawn."""
    windows: int
    """Over how many it is."""


class WindowReader:
    """The losses of single windows in a store and its parents; of each state they are read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, WindowHistory] = {}

    def of(self, run: RunRecord, corpus: str) -> Ends | None:
        """Of one corpus of a run; None unless its final loss is that of the last position and its windows are kept."""
        found = run.ends.get(corpus)
        if found is None or not found.alone or found.loss is None:
            return None
        start, stop = run.document["base_position"], run.document["steps"]
        history = self._read(run, {(at, found.windows_hash) for at in (start, stop) if at is not None})
        end = history.get((stop, found.windows_hash))
        base = None if start is None else history.get((start, found.windows_hash))
        if end is None or (found.base is not None and base is None):
            return None
        return Ends(_windows(found.windows_hash, end), base if base is None else _windows(found.windows_hash, base))

    def _read(self, run: RunRecord, wanted: set[tuple[int, str]]) -> WindowHistory:
        """From the states on the path of a run, the deepest first, until nothing is missing."""
        history: WindowHistory = {}
        for stop in sorted(run.document["path"], key=lambda stop: -int(stop["position"])):
            if wanted <= history.keys():
                break
            address = stop["address"]
            if address not in self._known:
                self._known[address] = self._store.windows(address)
            history = merged(history, self._known[address])
        return history


class FrozenWindows:
    """The same from a file that `--freeze` wrote. Raises InputError for another one."""

    def __init__(self, path: Path) -> None:
        table = read_file(path, {"run", "corpus", "windows_hash"})
        if tuple(table.columns) != FROZEN_COLUMNS or not np.isfinite(table.loss.astype(float)).all():
            raise InputError("table", path, "it holds no losses of single windows", "freeze the runs again")
        groups = table.groupby(["run", "corpus", "windows_hash"])
        self._found = {tuple(map(str, key)): _thawed(str(key[2]), rows) for key, rows in groups}
        self._ends = {(run, corpus): hash_ for run, corpus, hash_ in self._found}

    def of(self, run: str, base_address: str | None, corpus: str) -> Ends | None:
        """Of one corpus of a run by its name; None where its windows were not kept. `base_address`: None from scratch,
        and both as the table of measurements that was frozen with them says."""
        hash_ = self._ends.get((run, corpus))
        if hash_ is None:
            return None
        end = self._found[run, corpus, hash_]
        if not isinstance(base_address, str):  # a table's NaN, too
            return Ends(end, None)
        base = self._found.get((base_address, corpus, hash_))
        return None if base is None else Ends(end, replace(base, clean=end.clean))


def windows_table(reader: WindowReader, runs: Iterable[RunRecord]) -> pd.DataFrame:
    """FROZEN_COLUMNS of all corpora of runs whose windows are kept; no row of the others."""
    found: dict[tuple[str, str, str], Windows] = {}
    for run in runs:
        for corpus in run.ends:
            if (ends := reader.of(run, corpus)) is not None:
                found[run.facts.run, corpus, ends.end.hash] = ends.end
                if ends.base is not None and run.facts.base_address is not None:
                    found.setdefault((run.facts.base_address, corpus, ends.base.hash), replace(ends.base, clean=None))
    parts = [_frozen(*key, windows) for key, windows in found.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(FROZEN_COLUMNS))


def write_windows(table: pd.DataFrame, path: Path) -> None:
    """Such a table as a file. What repeats from run to run takes no room; losses do not compress. OSError."""
    plain = [name for name in FROZEN_COLUMNS if name != "loss"]
    split = {"loss": "BYTE_STREAM_SPLIT"}
    table.to_parquet(path, index=False, compression="zstd", use_dictionary=plain, column_encoding=split)


def average(several: Sequence[Windows]) -> Windows:
    """The mean loss of every window over runs, such as the seeds of an arm. InputError if the windows are not the same
    ones."""
    first = several[0]
    for other in several[1:]:
        difference(first, other)
    return replace(first, loss_sum=np.mean([one.loss_sum for one in several], axis=0))


def mean(windows: Windows) -> Estimate:
    """The loss over windows, and its standard error: that of a ratio of sums, sum(loss) / sum(tokens)."""
    return _ratio(windows.loss_sum, windows.tokens)


def difference(a: Windows, b: Windows) -> Estimate:
    """loss(a) - loss(b), paired window by window. InputError if they are of different windows."""
    if a.hash != b.hash or not np.array_equal(a.window, b.window):
        raise InputError("windows", a.hash, f"not those of {b.hash}", "compare losses of the same windows")
    return _ratio(a.loss_sum - b.loss_sum, a.tokens)


def forgetting(arm: Ends, other: Ends | None = None) -> Estimate:
    """F = U(run) - U(base); of two arms F(arm) - F(other), paired, whether their base is one or not.

    Given the ends of upstream; of downstream it is -A. InputError from scratch, and for different windows.
    """
    if arm.base is None or (other is not None and other.base is None):
        raise InputError("run", "from scratch", "it has no base", "compare losses at the end: difference")
    own = difference(arm.end, arm.base)
    if other is None or other.base is None:
        return own
    difference(arm.end, other.end)  # the same windows
    change = (arm.end.loss_sum - arm.base.loss_sum) - (other.end.loss_sum - other.base.loss_sum)
    return _ratio(change, arm.end.tokens)


def adaptation(arm: Ends, other: Ends | None = None) -> Estimate:
    """A = V(base) - V(run), from the ends of downstream; of two arms the difference. As `forgetting`."""
    found = forgetting(arm, other)
    return replace(found, value=-found.value)


def _ratio(sums: Array, tokens: Integers) -> Estimate:
    """sum(sums) / sum(tokens) and its standard error over the windows, linearised: windows are weighted by tokens.

    For windows of equal length the usual standard error of a mean; a bootstrap over windows comes to the same.
    """
    n, total = len(sums), float(tokens.sum())
    if n < 2:
        raise InputError("windows", n, "no sampling error of so few", "measure more: evaluate.final_windows")
    value = float(sums.sum()) / total
    scatter = sums - value * tokens
    return Estimate(value, float(np.sqrt(n / (n - 1) * (scatter**2).sum()) / total), n)


def _frozen(run: str, corpus: str, windows_hash: str, windows: Windows) -> pd.DataFrame:
    """The rows of one end."""
    clean = pd.array([pd.NA] * len(windows.window) if windows.clean is None else windows.clean, dtype="boolean")
    numbers = {name: getattr(windows, name).astype(np.int32) for name in ("window", "tokens", "bytes")}
    loss = (windows.loss_sum / windows.tokens).astype(np.float32)
    named = {"run": run, "corpus": corpus, "windows_hash": windows_hash}
    return pd.DataFrame({**numbers, "loss": loss, "clean": clean}).assign(**named)[list(FROZEN_COLUMNS)]


def _thawed(windows_hash: str, rows: pd.DataFrame) -> Windows:
    window, tokens, bytes_ = (rows[name].to_numpy(np.int64) for name in ("window", "tokens", "bytes"))
    clean = None if rows.clean.isna().any() else rows.clean.to_numpy(bool)
    return Windows(windows_hash, window, rows.loss.to_numpy(float) * tokens, tokens, bytes_, clean)


def _windows(windows_hash: str, losses: WindowLosses) -> Windows:
    columns = (losses[name] for name in ("window", "loss_sum", "token_count", "byte_count"))
    window, loss_sum, tokens, bytes_ = columns
    return Windows(windows_hash, window, loss_sum, tokens.astype(np.int64), bytes_.astype(np.int64))
