"""Does a store reproduce a committed table? One line, for the end of `make demo`.

    verdict(from_store(Path("runs"), ["demo"], []), "demo")
    # reproduced: 390 rows of seed 0 equal paper_figures/data/demo.csv to the last bit

Another instruction set, or other versions of the packages whose text is the embedded corpora, moves the last digits or
more; the yardstick for that is how far the same row of the table lies apart between seeds.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.results.tables import SHARED
from paper_figures.data import Results, frozen

NAMES = ("run", "key", "name", "address", "base_address")  # of a run; what is left of SHARED are its knobs
ROW = [*(column for column in SHARED if column not in (*NAMES, "seed")), "position", "D", "corpus", "windows"]


def verdict(live: Results, name: str) -> str:
    """How the runs of a store compare with paper_figures/data/`name`.csv. Raises InputError if there is no such."""
    committed = frozen(name)
    everything = _rows(committed.measured)
    theirs = everything[everything.seed.isin([*live.measured.seed, *live.lacking.seed])]
    pairs = theirs.merge(_rows(live.measured), left_index=True, right_index=True, suffixes=("", "_now"))
    if pairs.empty:
        seeds = _listed(everything.seed)
        return f"not compared: {committed.source} (seeds {seeds}) has no row of the runs that are done here"
    what = f"{len(pairs)} rows of seed{'s' if pairs.seed.nunique() > 1 else ''} {_listed(pairs.seed)}"
    missing = f"; {len(theirs) - len(pairs)} further rows are not there" if len(theirs) > len(pairs) else ""
    differ = pairs[(pairs.loss != pairs.loss_now) | (pairs.bits_per_byte != pairs.bits_per_byte_now)]
    if differ.empty:
        return f"reproduced: {what} equal {committed.source} to the last bit{missing}"
    apart = (differ.loss_now - differ.loss).abs()
    at = int(apart.to_numpy().argmax())
    worst, noise = differ.iloc[at], everything.loss[everything.index.get_level_values("row") == differ.index[at][0]]
    why = "another processor" if (pairs.address == pairs.address_now).all() else "other packages, texts or settings"
    return (
        f"not to the last bit: {len(differ)} of {what} differ from {committed.source} (by {why}), "
        f"the largest by {apart.max():.2g} nats per token ({worst['name']}, {worst.corpus}, D={worst.D})"
        + (f", where {len(noise)} seeds have a standard deviation of {noise.std():.2g}" if len(noise) > 1 else "")
        + missing
    )


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of continual pre-training, indexed by what makes a row the same one, and by seed."""
    table = table[table.D >= 0]
    keys = ["|".join(map(_text, row)) for row in table[ROW].itertuples(index=False)]
    index = pd.MultiIndex.from_arrays([keys, table.seed], names=["row", "of_seed"])
    return table[["name", "address", "seed", "D", "corpus", "loss", "bits_per_byte"]].set_index(index)


def _text(value: Any) -> str:
    """Equal for numbers that are equal, whatever their type, and for all that is missing."""
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else repr(float(value))


def _listed(seeds: pd.Series[Any]) -> str:
    return ", ".join(str(seed) for seed in sorted(set(seeds)))
