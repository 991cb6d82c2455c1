"""Corpora of listed files as jobs of a cluster: an array that builds groups of files, and a job that assembles.

Training waits for the second (`afterok`). Files are fetched where the command is given, or by the jobs that build
(`launch.ingest`); in the first case no job asks a server: what a budget turns out to lack fails the second job with a
line, and the next command fetches it. What a job has built stays, so one that is killed or queued again goes on; a unit
that is there is never built twice. What the data alone tell fails the job with its line, which failures/ holds by the
key of what is read (all of a corpus, or its validation alone: two jobs): `do=plan` and `status` show it for every run
that waits. A corpus of sequences that another program drew (Megatron's files) is one job.

    after = submit_corpora(left, cluster, store, wanted, queue)       # {recipe key: number of the job that assembles}
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config.launching import Cluster
from harness.core.command import plain_output
from harness.core.errors import InputError
from harness.core.identity import digest
from harness.core.plain import plain, read_back
from harness.corpora.corpus import open_corpus
from harness.corpora.grouping import Group
from harness.ingest.assemble import build_groups, fetch_groups
from harness.ingest.pretokenized import fetch_sequences, require_fetched
from harness.ingest.progress import PlainDisplay
from harness.ingest.selection import require_built, wanted_groups
from harness.ingest.trained_tokenizer import tokenizer_json
from harness.slurm.chains import listed
from harness.slurm.payload import FAILED, FINAL
from harness.slurm.resources import Resources, check, out_of_allocations
from harness.slurm.snapshot import freeze, freeze_code
from harness.slurm.submissions import COMMENT, CORPUS, GROUP, OTHERWISE, Submitted, read_work, record, require_frozen
from harness.slurm.submit import environment, largest_array, retries
from harness.store.store import Store
from harness.texts.listed import FilesSource, MegatronSource, without_files
from harness.texts.recipe import Recipe
from harness.workers.needed_corpora import Needed, build_corpora
from harness.workers.pool import undisturbed

LEAD_SECONDS = 60  # from SLURM's warning to the end of a job: what is not built by then is lost, a unit at most


def left_to_jobs(needed: Sequence[Needed], cluster: Cluster, root: Path) -> list[Needed]:
    """Those that jobs build: of listed files, not there yet, where `launch.ingest.build` says so."""
    if cluster.ingest.build == "here":
        return []
    listed = [one for one in needed if isinstance(one.recipe.source, FilesSource | MegatronSource)]
    return [one for one in listed if not _is_there(root, one)]


def ingest_resources(cluster: Cluster) -> Resources:
    """What such a job asks for, checked with sbatch. Raises InputError."""
    given = cluster.ingest
    options: dict[str, str | bool] = {
        **{name: value for name, value in cluster.job_of(0).place if "gpu" not in str(value) and name != "gres"},
        **dict(cluster.options),
        "nodes": "1",
        "ntasks-per-node": "1",
        "cpus-per-task": str(given.cpus),
    }
    if given.mem is not None:
        options["mem"] = f"{math.ceil(1024 * given.mem)}M"
    found = Resources(
        tuple(sorted(options.items())), given.minutes, min(LEAD_SECONDS, 15 * given.minutes), cluster.setup
    )
    check(found)
    return found


def fetch_corpora(left: Sequence[Needed], cluster: Cluster, root: Path) -> None:
    """Bring their files here, where the jobs are not to. Raises InputError."""
    if cluster.ingest.fetch == "here":
        for one in left:
            if isinstance(one.reading.source, FilesSource):
                fetch_groups(one.reading, wanted_groups(one.reading, root), root)
            else:
                fetch_sequences(one.reading, root)


def submit_corpora(
    left: Sequence[Needed], cluster: Cluster, store: Store, wanted: Resources, queue: Mapping[str, Submitted]
) -> dict[str, str]:
    """By recipe key the number of the job that training waits for, submitted unless it is queued. Raises InputError.

    Parts of a corpus have their units in common, and so have corpora of the same files: what the jobs of one build, or
    are queued to build, is not built by those of another. Of two budgets the larger one is submitted first: a job
    builds no more of a large file than its own asks for. A line says so where one that is queued has a smaller one.
    """
    after: dict[str, str] = {}
    queued = {key.removeprefix(GROUP): one for key, one in queue.items() if key.startswith(GROUP) and one.in_queue}
    jobs = {key: one.job for key, one in queued.items()}
    for one in sorted(left, key=lambda one: -_budget(one.reading.source)):
        known = queue.get(CORPUS + one.reading.key)
        if known is not None and known.in_queue:
            after[one.recipe.key] = known.job
            print(f"corpus {one.recipe.name}: job {known.job} is queued or running already", file=sys.stderr)
        else:
            store.clear_failure(one.reading.key)
            after[one.recipe.key] = _submit(one, jobs, queued, cluster, store, wanted)
    return after


def _budget(source: object) -> float:
    """Tokens; all there are where none is given."""
    tokens = getattr(source, "tokens", None)
    return math.inf if tokens is None else float(tokens)


def _with_less(missing: Sequence[Group], source: FilesSource, queued: Mapping[str, Submitted]) -> list[str]:
    """The numbers of queued jobs that build some of these groups for a smaller budget."""
    arrays = {one.folder: one for group in missing if (one := queued.get(group.key))}
    found = []
    for one in arrays.values():
        with contextlib.suppress(*OTHERWISE):
            tokens = read_work(one.folder, one.index)["recipe"]["source"]["tokens"]
            found += [one.job.partition("_")[0]] if tokens is not None and tokens < _budget(source) else []
    return found


def _is_there(root: Path, needed: Needed) -> bool:
    try:
        open_corpus(root, needed.recipe, whole=needed.whole)
    except (FileNotFoundError, RuntimeError):
        return False
    return True


def _submit(
    one: Needed,
    groups: dict[str, str],
    queued: Mapping[str, Submitted],
    cluster: Cluster,
    store: Store,
    wanted: Resources,
) -> str:
    """The job that assembles. `groups`: by key of a group the job that builds it, to which new ones are added; those of
    earlier commands are `queued`."""
    reading, code = one.reading, freeze_code(store.root / "jobs")
    common = {"code": str(code), "root": str(store.root), "cpus": cluster.ingest.cpus, "key": reading.key}
    numbers: list[str] = []
    if isinstance(source := reading.source, FilesSource):
        # Of a part that is read alone a group is built to its end: other parts may take more of it than this one does.
        tokens = None if source.cut_for else source.tokens
        bare = plain(replace(reading, source=replace(without_files(source), tokens=tokens)))
        vocabulary = tokenizer_json(reading.tokenizer, source.longest_document)
        missing = wanted_groups(reading, store.root)
        own, largest = [group for group in missing if group.key not in groups], largest_array()
        for some in (own[at : at + largest] for at in range(0, len(own), largest)):
            works = [{**common, "recipe": bare, "group": plain(group)} for group in some]
            keys = [GROUP + group.key for group in some]
            number = _array(works, keys, {"tokenizer.json": vocabulary}, [], cluster, store, wanted)
            print(f"submitted {listed([number])}: {len(works)} parts of corpus {one.recipe.name}", file=sys.stderr)
            groups |= dict.fromkeys((group.key for group in some), number)
        numbers = sorted({groups[group.key] for group in missing})
        if fewer := _with_less(missing, source, queued):
            told = f"corpus {one.recipe.name} has parts that job {listed(fewer)} builds for a smaller budget"
            print(f"{told}: if they turn out too few, the same command, given again, goes on", file=sys.stderr)
    last = {**common, "needed": plain(one), "fetched": cluster.ingest.fetch == "here"}
    end = _array([last], [CORPUS + reading.key], {}, numbers, cluster, store, wanted)
    waits = f" after {listed(numbers)}" if numbers else ""
    print(f"submitted {end}: corpus {one.recipe.name}, assembled{waits}", file=sys.stderr)
    return end


def _array(
    works: Sequence[dict[str, Any]],
    keys: Sequence[str],
    contents: Mapping[str, bytes],
    after: Sequence[str],
    cluster: Cluster,
    store: Store,
    wanted: Resources,
) -> str:
    """The number of an array of jobs (one alone: of a job), each with its work, its key in the queue beside it."""
    import submitit

    token = digest(works, keys, wanted)[:12]
    known = (store.root / "jobs" / token).exists()  # submitted before: its logs stay
    texts = {f"work-{i}.json": json.dumps(work).encode() for i, work in enumerate(works)}
    folder = freeze(store.root / "jobs", token, {**texts, **contents})
    elements = [[key] for key in keys]
    record(folder, elements, None)
    executor = submitit.SlurmExecutor(folder, max_num_timeout=cluster.requeues + 1)
    options = {**dict(wanted.options), "comment": f"{COMMENT}{token}", "requeue": True}
    if after:
        options |= {"dependency": ",".join(f"afterok:{number}" for number in after), "kill-on-invalid-dep": "yes"}
    executor.update_parameters(
        job_name="rewarm-corpus",
        time=wanted.minutes,
        signal_delay_s=wanted.lead,
        array_parallelism=cluster.ingest.at_once or len(works),
        setup=[*retries(folder, cluster.retries), *wanted.setup, *environment(Path(works[0]["code"]))],
        srun_args=["--export=ALL"],
        additional_parameters=options,
    )
    try:
        with out_of_allocations(options), undisturbed(), contextlib.redirect_stderr(io.StringIO()):
            jobs = executor.map_array(IngestPayload(str(folder)), range(len(works)))
    except submitit.core.utils.FailedJobError as error:
        if not known:
            shutil.rmtree(folder)
        message = " ".join(str(error).replace("sbatch: error: ", "").split())
        raise InputError("launch", "slurm", f"sbatch says: {message}", "see conf/launch/slurm.yaml") from None
    number: str = jobs[0].job_id.split("_")[0]
    record(folder, elements, number)
    return number


@dataclass(frozen=True)
class IngestPayload:
    """What submitit calls. It holds nothing but the submission's folder."""

    folder: str

    def __call__(self, index: int) -> None:
        plain_output()
        document = read_work(Path(self.folder), index)
        require_frozen(__file__, document)
        store, cpus, key = Store(Path(document["root"])), int(document["cpus"]), document["key"]
        try:
            if "needed" in document:
                needed = read_back(Needed, document["needed"])
                if document["fetched"]:
                    require = require_built if isinstance(needed.recipe.source, FilesSource) else require_fetched
                    require(needed.reading, store.root)
                build_corpora([needed], store.root, progress=True, processes=cpus)
                store.clear_failure(key)
                return
            recipe, group = read_back(Recipe, document["recipe"]), read_back(Group, document["group"])
            display = PlainDisplay(True)
            display.recipe = recipe
            build_groups(recipe, [group], store.root, Path(self.folder) / "tokenizer.json", cpus, display)
        except InputError as error:
            self._failed(store, key, str(error), FINAL)
        except Exception as error:
            traceback.print_exc()
            self._failed(store, key, f"{type(error).__name__}: {error}", FAILED)

    def checkpoint(self, index: int) -> Any:
        """What submitit runs when the job starts again: the same, for what is built is in the store."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, index)

    def _failed(self, store: Store, key: str, reason: str, status: int) -> None:
        log = next(iter(_logs(Path(self.folder))), Path(self.folder))
        store.write_failure(key, 0, None, str(log), reason)
        print(f"failed: {reason}", file=sys.stderr)
        sys.exit(status)


def _logs(folder: Path) -> Iterator[Path]:
    """This job's own log, if submitit has one for it."""
    import submitit

    yield folder / f"{submitit.JobEnvironment().job_id}_0_log.err"
