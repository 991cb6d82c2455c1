"""How sure the end of a run is, and which windows count: from the losses of its single windows at base and end.

Beneath `analysis.results.run_record`, whose final losses are means over those windows of a corpus that are *clean*: not
contained in what is trained on (`harness.plan.exposure`). Other windows of the corpus would have given other losses;
the windows of all runs are the same ones, so errors of a difference are those of the *paired* differences, window by
window: smaller by far than those of two losses. What seeds do is not among them.

    ends = run.windows("docs")                              # of base and end, window by window; None: not kept
    forgetting(ends.counted), forgetting(ends.counted, other.counted)      # an Estimate: value and sampling error
    mean(ends.end.part(ends.end.window < 100))              # any subset
    difference(average(seeds_of_one), average(seeds_of_other))             # what windows leave in a mean over seeds

States do not outlive a machine: `windows_table` puts these losses into one small table, which
`python -m paper_figures --freeze NAME` writes to NAME_windows.parquet beside NAME.csv. `FrozenWindows` reads it, and
`with_clean_ends` takes final losses of a table from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.formulas.formula import Array, Integers
from analysis.results.table_files import read_file
from harness.core.errors import InputError
from harness.plan.exposure import Exposure
from harness.store.store import Store
from harness.store.windows import WindowHistory, WindowLosses, merged

# A row a window: of the end of a run, or, with the address of a base as `run`, of where it ended, once for all of
# its runs. In the order of the windows; `loss` in nats per token; `clean` is null where nobody has looked.
FROZEN_COLUMNS = ("run", "corpus", "windows_hash", "window", "tokens", "bytes", "loss", "clean")
HOW_TO_KNOW = "python -m analysis clean"
KEPT = 64  # states whose windows are held in memory: the corpora of a run, and bases of several
NONE_DIRTY = "none of the windows is contained in what is trained on"


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

    def part(self, chosen: NDArray[np.bool_]) -> Ends:
        """Of the windows of a mask, see `Windows.part`."""
        return Ends(self.end.part(chosen), None if self.base is None else self.base.part(chosen))

    @property
    def left_out(self) -> int | None:
        """How many windows are not clean, so that final losses are not of them. None where all count: nobody has
        looked, or fewer than two are clean."""
        clean = self.end.clean
        return None if clean is None or clean.sum() < 2 else int((~clean).sum())

    @property
    def counted(self) -> Ends:
        """Of the windows that final losses are of."""
        return self if self.end.clean is None or self.left_out is None else self.part(self.end.clean)


@dataclass(frozen=True)
class Estimate:
    """A mean over windows, in nats per token."""

    value: float
    se: float
    """Its standard error, had other windows of the corpus been drawn."""
    windows: int
    """Over how many it is."""


class WindowReader:
    """The losses of single windows in a store and its parents."""

    def __init__(self, store: Store) -> None:
        self.exposure = Exposure(store)
        self._windows = lru_cache(KEPT)(store.windows)

    def of(self, document: Mapping[str, Any], windows_hash: str) -> Ends | None:
        """Of the run of a run.json, where its base ended and where it did; None if they are not kept of both."""
        start, stop = document["base_position"], document["steps"]
        wanted = {(at, windows_hash) for at in (start, stop) if at is not None}
        history = self._read(document, wanted)
        if not wanted <= history.keys():
            return None
        clean = self.exposure.clean(document, windows_hash)
        found = {at: _windows(windows_hash, history[at, windows_hash], clean) for at, _ in wanted}
        return Ends(found[stop], None if start is None else found[start])

    def _read(self, document: Mapping[str, Any], wanted: set[tuple[int, str]]) -> WindowHistory:
        """From the states on the path of a run, the deepest first, until nothing is missing."""
        history: WindowHistory = {}
        for stop in sorted(document["path"], key=lambda stop: -int(stop["position"])):
            if wanted <= history.keys():
                break
            history = merged(history, self._windows(stop["address"]))
        return history


class FrozenWindows:
    """The same from a file that `--freeze` wrote, or its table. Raises InputError for another one."""

    def __init__(self, source: Path | pd.DataFrame) -> None:
        table = source if isinstance(source, pd.DataFrame) else read_file(source)
        if tuple(table.columns) != FROZEN_COLUMNS or not np.isfinite(table.loss.astype(float)).all():
            raise InputError("table", source, "it holds no losses of single windows", "freeze the runs again")
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


def windows_table(runs: Iterable[tuple[str, str | None, Mapping[str, Ends]]]) -> pd.DataFrame:
    """FROZEN_COLUMNS of runs, each its name, the address of its base and its ends by corpus."""
    found: dict[tuple[str, str, str], Windows] = {}
    for run, base_address, by_corpus in runs:
        for corpus, ends in by_corpus.items():
            found[run, corpus, ends.end.hash] = ends.end
            if ends.base is not None and base_address is not None:
                found.setdefault((base_address, corpus, ends.base.hash), replace(ends.base, clean=None))
    parts = [_frozen(*key, windows) for key, windows in found.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(FROZEN_COLUMNS))


def write_windows(table: pd.DataFrame, path: Path) -> None:
    """Such a table as a file. What repeats from run to run takes no room; losses do not compress. OSError."""
    plain = [name for name in FROZEN_COLUMNS if name != "loss"]
    split = {"loss": "BYTE_STREAM_SPLIT"}
    table.to_parquet(path, index=False, compression="zstd", use_dictionary=plain, column_encoding=split)


def beside(table: Path) -> Path:
    """The file of single windows that belongs to a frozen table."""
    return table.with_name(f"{table.stem}_windows.parquet")


def with_clean_ends(table: pd.DataFrame, windows: FrozenWindows) -> pd.DataFrame:
    """A table of measurements whose final losses, and those of bases on the same windows, are of the clean windows
    alone, as `windows` says of how many; those of runs whose windows are not kept, or that nobody has looked at, as
    they were. In these rows the column `dirty` says how many of `windows` are left out, NaN: not known."""
    table = table.copy() if "dirty" in table else table.assign(dirty=math.nan)
    most = table.groupby(["run", "corpus"])["windows"].transform("max") == table.windows
    last = table.groupby("run").D.transform("max") == table.D
    for key, rows in table[most & (last | (table.D == 0))].groupby(["run", "corpus"]):
        ends = windows.of(str(key[0]), rows.base_address.iloc[0], str(key[1]))
        if ends is None or ends.left_out is None or len(ends.end.window) != rows.windows.iloc[0]:
            continue
        left = ends.left_out
        for part, chosen in ((ends.counted.end, rows.D != 0), (ends.counted.base, rows.D == 0)):
            table.loc[rows.index[chosen], "dirty"] = left
            if part is not None and left:
                at, loss_sum = rows.index[chosen], float(part.loss_sum.sum())
                table.loc[at, "loss"] = loss_sum / part.tokens.sum()
                table.loc[at, "bits_per_byte"] = loss_sum / (math.log(2) * part.bytes.sum())
    return table


def left_out(dirty: Mapping[str, Iterable[float | None]]) -> str:
    """What final losses are of, as half a sentence: by corpus how many windows are left out, of each run; None or NaN:
    nobody has looked, or they cannot be."""
    numbers = {corpus: np.array([math.nan if v is None else v for v in values]) for corpus, values in dirty.items()}
    known = {corpus: values[np.isfinite(values)] for corpus, values in numbers.items()}
    unknown = max((len(values) - len(known[corpus]) for corpus, values in numbers.items()), default=0)
    every = f"all windows count{{}}, contained in what is trained on or not ({HOW_TO_KNOW})"
    if not any(len(values) for values in known.values()):
        return every.format("")
    ranges = {corpus: sorted({int(values.min()), int(values.max())}) for corpus, values in known.items() if len(values)}
    parts = [f"{' to '.join(f'{n:,}' for n in ends)} of {corpus}" for corpus, ends in ranges.items() if ends[-1]]
    found = f"without windows that are contained in what is trained on ({', '.join(parts)})" if parts else NONE_DIRTY
    return f"{found}; {every.format(f' in {unknown} runs')}" if unknown else found


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


def _windows(windows_hash: str, losses: WindowLosses, clean: NDArray[np.bool_] | None) -> Windows:
    window, loss_sum = losses["window"], losses["loss_sum"]
    tokens, bytes_ = (losses[name].astype(np.int64) for name in ("token_count", "byte_count"))
    return Windows(windows_hash, window, loss_sum, tokens, bytes_, clean)
