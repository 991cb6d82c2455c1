"""The measurements of a run: what is asked for (`Measure`), what came out (`Row`), and their text form.

A stored state carries every row since its root in `evaluations.csv`; plans, tables and figures read nothing else. A row
is keyed by its position and by the hash of the windows measured, so that rows can be added later from stored weights
and one history can serve runs that asked for different things.

    wanted = Measure("docs", key=recipe.key, windows=64, seq_len=128)
    rows = rows_from_csv(path.read_text())
    covered = (position, wanted.hash) in {row.key for row in rows}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.core.errors import CorruptError, InputError
from harness.core.identity import digest

HEADER = "position,tokens,corpus,windows,windows_hash,loss_sum,token_count,byte_count"
FINAL_POSITIONS = 3  # a single evaluation of few windows is noisy: the final loss is the mean of the last three
FINAL_WINDOWS = 1024  # from so many windows on the last evaluation alone is the final loss


@dataclass(frozen=True)
class Measure:
    """A channel loss to take: `windows` windows of `seq_len` tokens of the validation split of one corpus."""

    corpus: str
    key: str  # of the corpus's recipe, so that the hash is known before the corpus is built
    windows: int
    seq_len: int
    part: str = ""  # of the corpus, by its name in the recipe; empty: the whole, parts weighted as they are drawn
    least: int | None = None  # so many will do if there are no more, and each one's loss is kept; None: all, and not

    @property
    def fewest(self) -> int:
        """How many windows the split must have."""
        return self.windows if self.least is None else self.least

    @property
    def of_ends(self) -> bool:
        """It is taken at the ends of base and run alone: on more windows than their curves."""
        return self.least is not None and self.windows > self.least

    @cached_property
    def hash(self) -> str:
        """16 hex characters that name these windows; the corpus's display name plays no part, nor does `least`."""
        part = (self.part,) if self.part else ()
        return digest(self.key, self.windows, self.seq_len, *part)[:16]

    def indices(self, available: int) -> list[int]:
        """The windows measured, evenly spaced over the `available` ones of the split: floor((i + 1/2) * W / n)."""
        if not 1 <= self.fewest <= available:
            raise InputError(
                "evaluate.windows",
                self.fewest,
                f"the validation split of {self.corpus} has {available} windows",
                f"ask for 1 to {available}",
            )
        taken = min(self.windows, available)
        return [(2 * i + 1) * available // (2 * taken) for i in range(taken)]


@dataclass(frozen=True)
class Row:
    """One measurement. `position` is in optimizer steps since the root, `tokens` those trained by then."""

    position: int
    tokens: int
    corpus: str
    windows: int
    windows_hash: str
    loss_sum: float  # nats, over token_count predicted tokens
    token_count: int
    byte_count: int  # of the text these tokens stand for

    @property
    def key(self) -> tuple[int, str]:
        return (self.position, self.windows_hash)

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.loss_sum / self.token_count

    @property
    def bits_per_byte(self) -> float:
        return self.loss_sum / (math.log(2) * self.byte_count)


def rows_to_csv(rows: Iterable[Row]) -> str:
    """The text of `evaluations.csv`, sorted by position, corpus and hash, so that equal histories are equal bytes.

    Floats are written with `repr`: reading them back gives the same bits. InputError for a loss that is not finite
    (it must never be stored) and for a name that would break the format.
    """
    lines = [HEADER]
    for row in sorted(rows, key=_order):
        if not math.isfinite(row.loss_sum):
            raise InputError(
                "loss_sum",
                row.loss_sum,
                f"not finite on {row.corpus} at step {row.position}",
                "stop the run before it is stored",
            )
        for field, name in (("corpus", row.corpus), ("windows_hash", row.windows_hash)):
            if not name or not name.isprintable() or any(c in name for c in ',"'):
                raise InputError(
                    field, repr(name), "a comma, a quote or a control character cannot be stored", "use another name"
                )
        lines.append(
            f"{row.position},{row.tokens},{row.corpus},{row.windows},{row.windows_hash},"
            f"{float(row.loss_sum)!r},{row.token_count},{row.byte_count}"
        )
    return "\n".join(lines) + "\n"


def rows_from_csv(text: str, source: str = "evaluations.csv") -> list[Row]:
    """The rows of a text that `rows_to_csv` wrote, in its order. CorruptError, naming `source`, for anything else."""
    header, *lines = text.split("\n")
    if header != HEADER or not lines or lines.pop() != "":  # the text ends with a newline: a cut is seen
        raise CorruptError(f"{source}: not a complete table of evaluations")
    rows: list[Row] = []
    try:
        for line in lines:
            position, tokens, corpus, windows, hash_, loss_sum, token_count, byte_count = line.split(",")
            loss, count = float(loss_sum), int(token_count)
            if not math.isfinite(loss) or count <= 0:
                raise ValueError("a loss is not finite, or is of no tokens")
            rows.append(Row(int(position), int(tokens), corpus, int(windows), hash_, loss, count, int(byte_count)))
    except ValueError as error:
        raise CorruptError(f"{source}: line {len(rows) + 2} is not an evaluation ({error})") from None
    return rows


def merge(*histories: Iterable[Row]) -> list[Row]:
    """One history of several: of rows with the same key the first stays. Sorted as in the file."""
    found: dict[tuple[int, str], Row] = {}
    for history in histories:
        for row in history:
            found.setdefault(row.key, row)
    return sorted(found.values(), key=_order)


def final_loss(rows: Iterable[Row], corpus: str, windows_hash: str | None = None) -> float:
    """The final loss of a corpus in nats per token: the mean over the last three positions (fewer if there are fewer).

    Rows of other windows of the same corpus would mix two numbers: InputError unless `windows_hash` picks one.
    """
    mine = [row for row in rows if row.corpus == corpus and windows_hash in (None, row.windows_hash)]
    if not mine:
        raise InputError("corpus", corpus, "the history has no evaluation of it", "measure it first")
    if len({row.windows_hash for row in mine}) > 1:
        raise InputError("corpus", corpus, "measured on more than one set of windows", "name the set")
    last = sorted(merge(mine), key=_order)[-FINAL_POSITIONS:]
    return math.fsum(row.loss for row in last) / len(last)


def _order(row: Row) -> tuple[int, str, str]:
    return (row.position, row.corpus, row.windows_hash)


def final_positions(asked: Iterable[int], start: int | None) -> list[int]:
    """The last positions that a run is measured at, after `start` (None: from scratch).

    They are those of its grid: a corpus that is measured later, at stored positions only, has fewer of them, and what
    it has of earlier positions (the end of a warm-up, say) is no final loss.
    """
    return [n for n in sorted(set(asked))[-FINAL_POSITIONS:] if start is None or n > start]


@dataclass(frozen=True)
class End:
    """How a run ended on one corpus: nats per token."""

    loss: float | None
    """The final loss; None: the run has not come to its end."""
    base: float | None
    """That of the base, on the same windows; None: from scratch, or it was not measured."""
    windows: int
    """How many both are of."""
    windows_hash: str
    """Which these are."""
    positions: int
    """Over so many of the last positions the final loss is the mean."""
    alone: bool
    """The last position alone is the final loss, for it is of many windows."""
    dirty: int | None = None
    """How many further windows are left out, since they are contained in what is trained on; None: nobody has looked,
    or the losses of single windows are not kept, and it is of all."""


def is_final(windows: int, of_curve: int) -> bool:
    """Is a single evaluation a final loss: of more windows than the run's curve, or of very many?"""
    return windows > of_curve or windows >= FINAL_WINDOWS


def ends(
    curves: Sequence[Row], finals: Sequence[Row], last: Sequence[int], start: int | None, stop: int | None
) -> dict[str, End]:
    """How a run ended, by corpus.

    `curves`: rows of one set of windows for each corpus, `finals`: those of `evaluate.final_windows`, where these are
    others; `last`: its `final_positions`; `start`: where its base ended (None: from scratch), `stop`: where it ends
    itself (None: it has not yet). A final loss is that of the last position, where that and the base were measured on
    windows enough (`is_final`); else the mean over the last positions, and the base is on the windows of the curve.
    """
    found: dict[str, End] = {}
    for corpus in dict.fromkeys(row.corpus for row in [*curves, *finals]):
        own = {row.position: row for row in curves if row.corpus == corpus}
        usual = next((row.windows for row in own.values()), 0)
        mine = [*own.values(), *(row for row in finals if row.corpus == corpus)]
        many = {row.position: row for row in mine if is_final(row.windows, usual)}
        base, end = (None if at is None else many.get(at) for at in (start, stop))
        pair = base is None or end is None or base.windows_hash == end.windows_hash
        if pair and (end is not None if stop is not None else base is not None) and (base or start not in own):
            on = end or base or mine[0]
            losses = end.loss if end else None, base.loss if base else None
            found[corpus] = End(*losses, on.windows, on.windows_hash, 1, alone=True)
            continue
        taken = [own[position] for position in last if position in own] if stop is not None else []
        loss = final_loss(taken, corpus) if taken else None
        at_base = own[start].loss if start in own else None
        if loss is not None or at_base is not None:
            found[corpus] = End(loss, at_base, usual, next(iter(own.values())).windows_hash, len(taken), alone=False)
    return found


def in_order(names: Iterable[str], upstream: str, downstream: str) -> list[str]:
    """Corpora as they are shown: upstream, downstream, others by name."""
    return sorted(set(names), key=lambda name: (name != upstream, name != downstream, name))


def changes(
    final: Mapping[str, float], base: Mapping[str, float], upstream: str, downstream: str
) -> tuple[float | None, float | None]:
    """Forgetting = U(run) - U(base) and adaptation = V(base) - V(run); None where a loss is not there."""
    both = final.keys() & base.keys()
    forgetting = final[upstream] - base[upstream] if upstream in both else None
    adaptation = base[downstream] - final[downstream] if downstream in both else None
    return forgetting, adaptation
