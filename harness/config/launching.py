"""The settings of `launch=...`, typed: how a plan is carried out, never what is trained.

All are checked at once, whatever is left to do.

    launching = read_launch(config)                # a composed config; InputError names the first that is wrong
    launching.cluster.job_of(parameters)           # launch=slurm: what a job of so large a model asks for
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.fields import Config, as_number, choice, flag, listing, number, optional_whole, text, whole
from harness.config.run import Run
from harness.core.errors import InputError

PLACE = ("partition", "account", "qos", "constraint", "gres")
OF_A_JOB = (*PLACE, "minutes", "nodes", "gpus_per_node", "ranks_per_node", "cpus", "mem", "lead")
OURS = (
    *PLACE,
    "array",
    "comment",
    "cpus-per-task",
    "dependency",
    "error",
    "export",
    "gpus-per-node",
    "job-name",
    "kill-on-invalid-dep",
    "mem",
    "no-requeue",
    "nodes",
    "ntasks",
    "ntasks-per-node",
    "output",
    "parsable",
    "requeue",
    "signal",
    "test-only",
    "time",
    "wait",
    "wrap",
)  # options of sbatch that follow from other settings


@dataclass(frozen=True)
class JobSettings:
    """What one SLURM job asks for."""

    place: tuple[tuple[str, str], ...]
    """Those of partition, account, qos, constraint and gres that are given."""
    minutes: int
    """Time limit."""
    nodes: int
    """That one model is trained on."""
    gpus_per_node: int
    """0: on CPUs."""
    ranks_per_node: int
    """Processes that train one model together on each node."""
    cpus: int
    """Cores per rank."""
    mem: float | None
    """GB per node; None: the cluster's default."""
    lead: float | None
    """Seconds between the warning and the end; None: from measured steps and saves."""


@dataclass(frozen=True)
class IngestJobs:
    """Where corpora of listed files are fetched and built, and what the jobs that do it ask for."""

    fetch: str  # here (where the command is given), or jobs (those that build)
    build: str  # here or jobs
    cpus: int  # of a job
    mem: float | None  # GB of a job; None: the cluster's default
    minutes: int
    at_once: int | None


@dataclass(frozen=True)
class Cluster:
    """What launch=slurm has beyond the settings of every launch."""

    jobs: tuple[tuple[float, JobSettings], ...]
    """(from how many parameters on, what jobs of such models ask for), rising; the first holds from 0 on."""
    setup: tuple[str, ...]
    """Shell commands before Python starts."""
    options: tuple[tuple[str, str | bool], ...]
    """Further options of sbatch by their long names; True for one without a value."""
    at_once: int | None
    """Jobs of one array that may run at the same time; None: all."""
    retries: int
    """How often a job that failed is queued again."""
    requeues: int
    """How often a job may be interrupted before it fails."""
    wait: bool
    """Stay beside the jobs and show progress."""
    ingest: IngestJobs
    """Corpora of listed files."""

    def job_of(self, parameters: int) -> JobSettings:
        """What jobs of a model with so many parameters ask for."""
        return next(job for least, job in reversed(self.jobs) if least <= parameters)


@dataclass(frozen=True)
class Launch:
    """How a plan is carried out."""

    kind: str
    """inline (in this process), local (worker processes) or slurm (jobs of a cluster)."""
    save_every: float
    """Seconds between the saves inside a segment that a crash goes on from."""
    micro_batch: int | None
    """Sequences per forward pass; None: the whole batch."""
    keep: str
    """all, or weights: ends of runs without their optimizer."""
    sharding: str
    """none (every rank holds the model) or fsdp (a part of it)."""
    verify: str
    """Of stored files that the plan relies on: once (what has changed since is read), full (all is read), or off."""
    workers: int | None = None
    """Worker processes; None: as many as the GPUs, or else the cores, have room for."""
    ranks: int | None = None
    """GPUs, or else cores, that train one segment together; None: one, or as many as were started."""
    per_gpu: int = 1
    """Workers on each GPU."""
    cluster: Cluster | None = None
    """Of launch=slurm alone."""


def read_launch(config: Config) -> Launch:
    """The launch settings of a composed config. Raises InputError for the first that is wrong."""
    if not isinstance(config.get("launch"), dict):
        raise InputError("launch", config.get("launch"), "not a kind of launch", "give launch=inline, local or slurm")
    kind = choice(config, "launch.kind", ("inline", "local", "slurm"))
    lacking = {"partition", "wait"} if kind == "slurm" else {"workers", "ranks", "per_gpu"}
    if lacking - config["launch"].keys():
        why = f"the other settings are not those of launch={kind}"
        raise InputError("launch.kind", kind, why, f"give launch={kind} in place of launch.kind={kind}")
    return Launch(
        kind=kind,
        save_every=number(config, "launch.save_every", above=0),
        micro_batch=optional_whole(config, "launch.micro_batch", 1),
        keep=choice(config, "launch.keep", ("all", "weights")),
        sharding=choice(config, "launch.sharding", ("none", "fsdp")),
        verify=_verify(config),
        **(_of_a_cluster(config) if kind == "slurm" else _of_this_machine(config)),
    )


def read_tracker(config: Config) -> Mapping[str, Any]:
    """The tracker's settings, checked."""
    if not isinstance(config.get("tracker"), dict):
        raise InputError("tracker", config.get("tracker"), "not a tracker", "give tracker=off or tracker=wandb")
    if choice(config, "tracker.kind", ("off", "wandb")) == "wandb":
        if not {"mode", "project"} <= config["tracker"].keys():
            raise InputError("tracker.kind", "wandb", "its settings are not composed", "give tracker=wandb")
        choice(config, "tracker.mode", ("online", "offline"))
        text(config, "tracker.project")
    tracker: Mapping[str, Any] = config["tracker"]
    return tracker


def require_equal_parts(field: str, ranks: int, run: Run) -> None:
    """InputError if so many ranks do not divide the run's batch: each takes as many sequences of it."""
    if run.batch % ranks:
        why = f"that many ranks do not divide the batch of {run.batch} sequences of {run.name}"
        raise InputError(field, ranks, why, "give a divisor of it")


def _verify(config: Config) -> str:
    """launch.verify, where true and false stand for once and off."""
    given = config["launch"]["verify"]
    if isinstance(given, bool):
        return "once" if given else "off"
    return choice(config, "launch.verify", ("once", "full", "off"))


def _of_this_machine(config: Config) -> dict[str, Any]:
    return {
        "workers": optional_whole(config, "launch.workers", 1),
        "ranks": optional_whole(config, "launch.ranks", 1),
        "per_gpu": whole(config, "launch.per_gpu", 1),
    }


def _of_a_cluster(config: Config) -> dict[str, Any]:
    launch = config["launch"]
    jobs = {0.0: _job("launch", launch)}
    for i, entry in enumerate(listing(config, "launch.sizes")):
        least, job = _size(f"launch.sizes[{i}]", entry, launch)
        if least in jobs and least:
            raise InputError(f"launch.sizes[{i}].parameters", entry["parameters"], "given twice", "give one entry")
        jobs[least] = job
    cluster = Cluster(
        jobs=tuple(sorted(jobs.items())),
        setup=_lines(config, "launch.setup"),
        options=tuple(sorted(_options(launch["sbatch"]).items())),
        at_once=optional_whole(config, "launch.at_once", 1),
        retries=whole(config, "launch.retries", 0),
        requeues=whole(config, "launch.requeues", 0),
        wait=flag(config, "launch.wait"),
        ingest=_ingest(config),
    )
    return {"cluster": cluster}


def _ingest(config: Config) -> IngestJobs:
    fetch, build = (choice(config, f"launch.ingest.{what}", ("here", "jobs")) for what in ("fetch", "build"))
    if (fetch, build) == ("jobs", "here"):
        why = "files are fetched by the jobs that build, and launch.ingest.build=here has none"
        raise InputError("launch.ingest.fetch", fetch, why, "give launch.ingest.build=jobs, too")
    mem = config["launch"]["ingest"]["mem"]
    mem = None if mem is None else as_number("launch.ingest.mem", mem, above=0)
    cpus, minutes = (whole(config, f"launch.ingest.{what}", 1) for what in ("cpus", "minutes"))
    return IngestJobs(fetch, build, cpus, mem, minutes, optional_whole(config, "launch.ingest.at_once", 1))


def _size(field: str, entry: Any, launch: Mapping[str, Any]) -> tuple[float, JobSettings]:
    """One entry of `sizes`: from how many parameters on it holds, and all that jobs of such models ask for."""
    if not isinstance(entry, dict) or "parameters" not in entry:
        why, remedy = "it does not say from how many parameters on it holds", "give {parameters: 1e9, gpus_per_node: 8}"
        raise InputError(field, entry, why, remedy)
    for name in entry:
        if name not in (*OF_A_JOB, "parameters"):
            raise InputError(f"{field}.{name}", entry[name], "not a resource", f"known: {', '.join(OF_A_JOB)}")
    least = as_number(f"{field}.parameters", entry["parameters"], at_least=0, amount=True)
    return least, _job(field, {**launch, **entry})


def _job(field: str, given: Mapping[str, Any]) -> JobSettings:
    """The resources among some settings; `field` names where they stand."""

    def count(name: str, least: int) -> int:
        value = as_number(f"{field}.{name}", given[name], at_least=least)
        if value != int(value):
            raise InputError(f"{field}.{name}", given[name], "not a whole number", "give a whole number")
        return int(value)

    def optional(name: str) -> float | None:
        return None if given[name] is None else as_number(f"{field}.{name}", given[name], above=0)

    for name in PLACE:
        if given[name] is not None and (not isinstance(given[name], str | int) or not str(given[name])):
            raise InputError(f"{field}.{name}", given[name], "not a text", f"give {field}.{name}=TEXT")
    gpus = count("gpus_per_node", 0)
    ranks = (gpus or 1) if given["ranks_per_node"] is None else count("ranks_per_node", 1)
    if ranks > gpus > 0:
        why = f"each takes a GPU, and {field}.gpus_per_node is {gpus}"
        raise InputError(f"{field}.ranks_per_node", ranks, why, "give fewer")
    if gpus and "gpu" in str(given["gres"]):
        why = f"{field}.gpus_per_node asks for {gpus} already"
        remedy = f"give {field}.gpus_per_node=0 and, for several GPUs, {field}.ranks_per_node"
        raise InputError(f"{field}.gres", given["gres"], why, remedy)
    minutes, lead = count("minutes", 1), optional("lead")
    if lead is not None and lead > 60 * minutes / 2:
        why = f"the warning must come {lead:.0f} s before the end: {field}.lead says so"
        raise InputError(f"{field}.minutes", minutes, why, "give more than twice that")
    return JobSettings(
        place=tuple((name, str(given[name])) for name in PLACE if given[name] is not None),
        minutes=minutes,
        nodes=count("nodes", 1),
        gpus_per_node=gpus,
        ranks_per_node=ranks,
        cpus=count("cpus", 1),
        mem=optional("mem"),
        lead=lead,
    )


def _lines(config: Config, field: str) -> tuple[str, ...]:
    lines = listing(config, field)
    for line in lines:
        if not isinstance(line, str):
            raise InputError(field, line, "not a shell command", f"give {field}=['module load cuda']")
    return tuple(lines)


def _options(given: Any) -> dict[str, str | bool]:
    """Further options of sbatch by their long names."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError("launch.sbatch", given, "not a mapping", "give launch.sbatch={mail-type: FAIL}")
    named: dict[str, str | bool] = {}
    for name, value in given.items():
        if isinstance(value, dict | list):
            raise InputError(f"launch.sbatch.{name}", value, "not one value", "give a text or a number")
        if value is not None and value is not False:
            named[str(name).lstrip("-").replace("_", "-")] = True if value is True else str(value)
    for name in named:
        if name in OURS:
            raise InputError("launch.sbatch", name, "the harness sets it", "use the other keys of launch")
    return named
