"""What a run is, as its run.json says: the columns of a table that all its rows share.

Between `analysis.results.recorded_program` and `analysis.results.runs`; no state is needed.

    facts(document, asked(document), windows=None).replay
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from analysis.results.recorded_program import peak_lr, shares, warmup_steps
from harness.config.corpora import parts_of
from harness.config.fields import measured_sets
from harness.config.schedules import schedules_named, tokens_of
from harness.core import units
from harness.core.errors import InputError
from harness.core.identity import rounded
from harness.measure.request import RowKey, part_weights
from harness.plan.recorded_runs import corpus_names, final_windows, program_of
from harness.program.mixture import counts

Document = Mapping[str, Any]  # a run.json


@dataclass(frozen=True)
class Facts:
    """What a run is, from its run.json: the columns of a table that all its rows share."""

    run: str  # name of its folder
    key: str
    name: str
    address: str
    base_address: str | None
    model: str
    scale: str
    shift: str
    upstream: str
    downstream: str
    N: int | None  # parameters outside the embeddings
    N_total: int | None
    base_tokens: int
    run_tokens: int  # of continual pre-training
    horizon: str | None
    lr: float  # peak of continual pre-training
    peak: float | None  # the same as a multiple of the base's peak (that the config names, if it is a checkpoint)
    warmup: float  # share of the horizon
    warmup_tokens: int
    replay: float
    schedule: str
    start: str
    at: float  # share of the base that was trained
    optimizer_state: str
    seed: int
    shares: Mapping[str, float]  # of continual pre-training, by corpus name
    windows: Mapping[str, str]  # corpus -> hash of the windows that its curve is of
    finals: Mapping[str, str]  # the same of its losses where base and run end, if these are on others

    @property
    def measures(self) -> list[tuple[str, str]]:
        """(corpus, hash) of every set of windows: those of curves, then those of ends."""
        return [*self.windows.items(), *self.finals.items()]


def folder_name(document: Document) -> str:
    """The name of a run's folder in the store, which tells it from all other runs."""
    return f"{document['name']}-{document['key'][:12]}"


def asked(document: Document) -> frozenset[RowKey]:
    """The rows that a run asked for."""
    return frozenset((int(row["position"]), str(row["windows_hash"])) for row in document["requested"])


def facts(document: Document, rows: frozenset[RowKey], windows: int | None = None) -> Facts:
    """What a run.json says about its run; `rows` = `asked(document)`, which many runs share. KeyError, TypeError."""
    settings, program = document["config"], program_of(document)
    base = document["base_position"] or 0
    names = corpus_names(document)
    share = {names.get(key, key): value for key, value in shares(program, base).items()}
    lr = peak_lr(program, base)
    base_peak = settings["base"]["peak"]
    warmup = warmup_steps(program, base)
    upstream, downstream = document["upstream"], document["downstream"]
    tokens = program.tokens(program.steps) - program.tokens(base)
    hashes = _windows(document["measures"], rows, settings, windows)
    return Facts(
        run=folder_name(document),
        key=document["key"],
        name=document["name"],
        address=document["address"],
        base_address=document["base_address"],
        model=document["model"],
        scale=settings["scale"]["name"],
        shift=settings["shift"]["name"],
        upstream=upstream,
        downstream=downstream,
        N=document["non_embedding"],
        N_total=document["parameters"],
        base_tokens=program.tokens(base),
        run_tokens=tokens,
        horizon=None if settings["horizon"] is None else str(settings["horizon"]),
        lr=lr,
        peak=None if base_peak is None else rounded(lr / float(base_peak)),
        warmup=_warmup(settings),
        warmup_tokens=program.tokens(base + warmup) - program.tokens(base),
        replay=share.get(upstream, 0.0) if upstream != downstream else 0.0,
        schedule=schedules_named(settings),
        start=settings["start"]["kind"],
        at=float(settings["start"].get("at", 1)),
        optimizer_state=settings["optimizer_state"],
        seed=int(settings["seed"]),
        shares=share,
        windows=hashes,
        finals={} if windows is not None else _finals(document["measures"], rows, settings, hashes),
    )


def _windows(
    measures: Mapping[str, Any], rows: frozenset[RowKey], settings: dict[str, Any], wanted: int | None
) -> dict[str, str]:
    """Of each corpus the windows its losses are of: `wanted` ones, or the run's own, or those measured most often."""
    often = _often(rows)

    def worth(hash_: str) -> tuple[bool, bool, int, str]:
        measure = measures[hash_]
        many = measure["windows"]
        return (many == wanted, many == own_windows(measure, settings), often[hash_], hash_)

    chosen: dict[str, str] = {}
    for hash_ in sorted(often, key=worth):
        chosen[measures[hash_]["corpus"]] = hash_  # the last one stays
    return chosen


def _finals(
    measures: Mapping[str, Any], rows: frozenset[RowKey], settings: dict[str, Any], curves: Mapping[str, str]
) -> dict[str, str]:
    """Of each corpus the windows that the run itself measures where it and its base end, if the curve's are others."""
    asked = set(_often(rows)) - set(curves.values())
    most = final_windows(settings)
    found = {
        measures[hash_]["corpus"]: hash_
        for hash_ in sorted(asked)
        if measures[hash_]["windows"] == own_windows(measures[hash_], settings, most)
    }
    return {corpus: found[corpus] for corpus in curves if corpus in found}


def own_windows(measure: Mapping[str, Any], settings: dict[str, Any], windows: int | None = None) -> int:
    """On how many windows the run itself measures this corpus or part, whatever was measured of it later: of
    `windows` of its corpus, by default those of `evaluate.windows`."""
    windows, part = windows or int(settings["evaluate"]["windows"]), measure.get("part")
    if not part or measure["corpus"] in measured_sets(settings):
        return windows
    name = str(measure["corpus"]).removesuffix(f".{part}")
    entry = settings.get("corpus", {}).get(name)
    try:
        weights = part_weights(parts_of(name, entry["parts"])) if isinstance(entry, dict) and "parts" in entry else {}
    except InputError:  # parts of a record of before that no run may have any more
        weights = {}
    if part not in weights:
        return windows
    return int(counts(list(weights.values()), windows)[list(weights).index(part)])


@lru_cache(maxsize=64)
def _often(rows: frozenset[RowKey]) -> Counter[str]:
    return Counter(hash_ for _, hash_ in rows)


def _warmup(settings: Mapping[str, Any]) -> float:
    """Share of the horizon that the first warm-up takes, as the settings gives it."""
    first = settings["stages"][0] if settings["stages"] else {}
    if schedules_named(settings).split("+")[0] == "constant":
        return 0.0
    if settings["warmup_tokens"] is not None and not first:
        horizon = _tokens(settings, settings["horizon"] or settings["tokens"])
        return rounded(_tokens(settings, settings["warmup_tokens"]) / horizon)
    return float(first.get("warmup", settings["warmup"]))


def _tokens(settings: Mapping[str, Any], amount: Any) -> float:
    return tokens_of("tokens", amount, units.parse(str(settings["scale"]["tokens"])))
