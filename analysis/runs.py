"""Runs and what became of them: facts, measurements, status, final losses, forgetting and adaptation.

The one reader of a store in analysis: `read_runs` gives the runs of a store, or the members of a sweep, each with the
rows it asked for; `summary` is an entry of `python -m analysis runs --json`. `tables.load` makes a DataFrame of them.

    for run in read_runs(Path("runs"), sweep="demo"):
        print(run.facts.run, run.status, summary(run)["forgetting"])

U, V = final validation loss on upstream and downstream, the mean of the last three evaluations. base = the state that
continual pre-training started from, measured on the same windows. Forgetting = U(run) - U(base), adaptation =
V(base) - V(run); both are undefined from scratch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.programs import peak_lr, program_of, shares, warmup_steps
from harness import config
from harness.compose import sweep_points
from harness.documents import run_document
from harness.errors import CorruptError, InputError
from harness.history import FINAL_POSITIONS, Row, final_loss
from harness.identity import rounded
from harness.plan import compile_points, plan
from harness.store import Store

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
    windows: Mapping[str, str]  # corpus -> hash of the windows that its losses are of


@dataclass(frozen=True)
class RunRecord:
    """A run with what was measured of it. `status`: done, partial, failed or missing."""

    facts: Facts
    document: Document
    rows: list[Row]  # those it asked for, of one set of windows per corpus, by position
    status: str

    @property
    def base_position(self) -> int:
        return self.document["base_position"] or 0

    def cpt_rows(self) -> list[Row]:
        """Measurements after the first step of continual pre-training."""
        return [row for row in self.rows if row.position > self.base_position]


def folder_name(document: Document) -> str:
    """The name of a run's folder in the store, which tells it from all other runs."""
    return f"{document['name']}-{document['key'][:12]}"


def read_runs(
    root: Path, sweep: str | Sequence[str] | None = None, *, overrides: Sequence[str] = (),
    parents: Sequence[Path] = (), windows: int | None = None,
) -> list[RunRecord]:  # fmt: skip
    """The runs recorded in a store, or the members of sweeps (those never started are `missing`).

    `windows` picks the measurements on so many windows where a run has several (default: those its config asks for).
    Raises InputError for an unknown sweep or override and for a root that is no store, CorruptError for a run.json that
    says too little.
    """
    if not (root / "store.json").exists():
        raise InputError("root", root, "there is no store (no store.json)", "name the folder of a store: --root")
    store = Store(root, parents)
    recorded = {document["key"]: document for document in store.runs()}
    documents: Iterable[Document] = recorded.values()
    if sweep is not None:
        members = sweep_documents([sweep] if isinstance(sweep, str) else sweep, overrides)
        documents = [recorded.get(document["key"], document) for document in members]
    elif overrides:
        raise InputError("arguments", " ".join(overrides), "overrides need a sweep", "give --sweep NAME")
    stored, shared = store.addresses(), dict[str, list[Row]]()
    runs = []
    for document in documents:
        try:
            runs.append(_read(store, document, stored, shared, windows))
        except (KeyError, TypeError) as error:
            raise CorruptError(
                f"run.json of {document.get('name')}: not as this version writes it ({error!r})"
            ) from None
    return runs


def sweep_documents(names: Sequence[str], overrides: Sequence[str]) -> list[Document]:
    """What the run.json of every member of the sweeps says, whether it was ever started or not."""
    points = sweep_points(names, overrides)
    planned = plan(compile_points((point.label, config.read(point.config)) for point in points))
    return [run_document(point) for point in planned.points]


def facts(document: Document, windows: int | None = None) -> Facts:
    """What a run.json says about its run."""
    settings, program = document["config"], program_of(document)
    base = document["base_position"] or 0
    names = {measure["key"]: measure["corpus"] for measure in document["measures"].values()}
    share = {names.get(key, key): value for key, value in shares(program, base).items()}
    lr = peak_lr(program, base)
    base_peak = settings["base"]["peak"]
    warmup = warmup_steps(program, base)
    upstream, downstream = document["upstream"], document["downstream"]
    tokens = program.tokens(program.steps) - program.tokens(base)
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
        schedule=_schedule(settings),
        start=settings["start"]["kind"],
        at=float(settings["start"].get("at", 1)),
        optimizer_state=settings["optimizer_state"],
        seed=int(settings["seed"]),
        shares=share,
        windows=_windows(document, windows or settings["evaluate"]["windows"]),
    )


def base_losses(run: RunRecord) -> dict[str, float]:
    """Loss per corpus of the state that continual pre-training started from; empty from scratch."""
    if run.document["base_position"] is None:
        return {}
    return {row.corpus: row.loss for row in run.rows if row.position == run.base_position}


def final_losses(run: RunRecord) -> dict[str, float]:
    """Final loss per corpus: the mean of the last three evaluations after the base. Empty unless the run is done.

    The last three positions are those of the run's grid: a corpus measured later, at stored positions only, has fewer
    of them, and what it has of earlier positions (the end of a warm-up, say) is no final loss.
    """
    last = sorted({int(row["position"]) for row in run.document["requested"]})[-FINAL_POSITIONS:]
    rows = [row for row in run.cpt_rows() if row.position in last] if run.status == "done" else []
    return {corpus: final_loss(rows, corpus) for corpus in dict.fromkeys(row.corpus for row in rows)}


def summary(run: RunRecord) -> dict[str, Any]:
    """One run of the `rewarm.runs/1` document; losses in nats per token, None where undefined or not there yet."""
    f, loss, base = run.facts, final_losses(run), base_losses(run)
    identity = ("run", "key", "address", "base_address", "model", "N", "N_total")
    settings = ("base_tokens", "upstream", "downstream", "replay", "lr", "peak", "warmup", "schedule", "start", "at",
                "optimizer_state", "seed")  # fmt: skip
    return {
        **{name: getattr(f, name) for name in identity},
        "D": f.run_tokens,
        **{name: getattr(f, name) for name in settings},
        "loss": loss,
        "base_loss": base,
        "forgetting": _difference(loss.get(f.upstream), base.get(f.upstream)),
        "adaptation": _difference(base.get(f.downstream), loss.get(f.downstream)),
        "status": run.status,
    }


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _read(
    store: Store, document: Document, stored: set[str], shared: dict[str, list[Row]], windows: int | None
) -> RunRecord:
    """The rows of a run: those it asked for, from the states on its path, the deepest first."""
    asked = {(int(row["position"]), str(row["windows_hash"])) for row in document["requested"]}
    found: dict[tuple[int, str], Row] = {}
    stops = [(int(stop["position"]), str(stop["address"])) for stop in document["path"]]
    for position, address in sorted(stops, reverse=True):
        if address not in stored or len(found) == len(asked):
            continue
        if address == document["address"]:  # the end of a run is rarely shared
            rows = store.rows(address)
        else:
            rows = shared[address] if address in shared else shared.setdefault(address, store.rows(address))
        for row in rows:
            if row.key in asked and row.position <= position:
                found.setdefault(row.key, row)
    described = facts(document, windows)
    names = {hash_: corpus for corpus, hash_ in described.windows.items()}
    rows = [  # a corpus has the name this run gives it, whoever measured it first
        replace(row, corpus=names[row.windows_hash])
        for _, row in sorted(found.items())
        if row.windows_hash in names
    ]
    return RunRecord(described, document, rows, _status(store, document, stored, stops, asked - found.keys()))


def _status(
    store: Store, document: Document, stored: set[str], stops: Sequence[tuple[int, str]],
    lacking: set[tuple[int, str]],
) -> str:  # fmt: skip
    """done: the end is stored with every row of the channels and of what was trained on; further sets don't count."""
    channels = {document["upstream"], document["downstream"]}
    base = document["base_position"] or 0
    measurable = {0} | {position for position, address in stops if address in stored}
    trained = {source["corpus"] for phase in document["program"]["phases"] for source in phase["sources"]}
    own = {  # what `harness.evaluate` asked for later is not among them
        hash_
        for hash_, measure in document["measures"].items()
        if measure["windows"] == document["config"]["evaluate"]["windows"]
        and (measure["corpus"] in channels or measure["key"] in trained)
    }
    due = [position for position, hash_ in lacking if hash_ in own and (position in measurable or position >= base)]
    if document["address"] in stored and not due:
        return "done"
    if any(address not in stored and store.failure(address) for _, address in stops):
        return "failed"
    return "partial" if any(address in stored and position > base for position, address in stops) else "missing"


def _windows(document: Document, asked: int) -> dict[str, str]:
    """Of each corpus the windows its losses are of: as many as asked for, or else those measured most often."""
    often: dict[str, int] = {}
    for row in document["requested"]:
        often[row["windows_hash"]] = often.get(row["windows_hash"], 0) + 1
    chosen: dict[str, str] = {}
    measures = document["measures"]
    for hash_ in sorted(often, key=lambda h: (measures[h]["windows"] == asked, often[h], h)):
        chosen[measures[hash_]["corpus"]] = hash_  # the last one stays
    return chosen


def _schedule(settings: Mapping[str, Any]) -> str:
    default = settings["schedule"]["name"]
    if settings["stages"] is None:
        return str(default)
    named = [stage.get("schedule", None if i else default) for i, stage in enumerate(settings["stages"])]
    return "+".join(str(s["name"] if isinstance(s, dict) else s) for s in named if s is not None)


def _warmup(settings: Mapping[str, Any]) -> float:
    """Share of the horizon that the first warm-up takes, as the settings gives it."""
    first = settings["stages"][0] if settings["stages"] else {}
    if _schedule(settings).split("+")[0] == "constant":
        return 0.0
    if settings["warmup_tokens"] is not None and not first:
        horizon = _tokens(settings, settings["horizon"] or settings["tokens"])
        return rounded(_tokens(settings, settings["warmup_tokens"]) / horizon)
    return float(first.get("warmup", settings["warmup"]))


def _tokens(settings: Mapping[str, Any], amount: Any) -> float:
    text = str(amount)
    return float(text[:-1]) * float(settings["scale"]["tokens"]) if text.endswith("x") else float(text)
