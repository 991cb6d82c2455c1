"""How a plan is carried out: every setting of launch= is checked, whatever is left to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import run_points
from harness.compose.compose import collect
from harness.config.launching import read_launch
from harness.core.errors import InputError
from tests.launched import launched
from tests.tiny import command

BAD = {
    "launch=inline launch.workers=0": "launch.workers=0: below 1",
    "launch=local launch.workers=1.5": "launch.workers=1.5: not a whole number",
    "launch=local launch.workers=1e9": "launch.workers=1000000000.0: above 10000: no machine",
    "launch=inline launch.keep=none": "launch.keep=none: no such choice",
    "launch=inline launch.sharding=ddp": "launch.sharding=ddp: no such choice",
    "launch=local launch.per_gpu=none": "launch.per_gpu=none: not a number",
    "launch=local launch.ranks=-2": "launch.ranks=-2: below 1",
    "launch=inline launch.save_every=0": "launch.save_every=0: not above 0",
    "launch=inline launch.micro_batch=0": "launch.micro_batch=0: below 1",
    "launch=inline launch.verify=maybe": "launch.verify=maybe: no such choice",
    "launch=inline launch.kind=remote": "launch.kind=remote: no such choice",
    "launch=inline launch.kind=slurm": "give launch=slurm",
    "launch=slurm launch.kind=local": "give launch=local",
    "launch=slurm launch.wait=later": "launch.wait=later: not true or false",
    "launch=slurm launch.retries=-1": "launch.retries=-1: below 0",
    "launch=slurm launch.at_once=0": "launch.at_once=0: below 1",
    "launch=slurm launch.minutes=1e9": "launch.minutes=1000000000.0: above 525600: that is a year",
    "launch=slurm launch.setup=[{module: cuda}]": "not a shell command",
    "launch=slurm launch.partition=[a,b]": "launch.partition=['a', 'b']: a list where one value is due",
    "launch=slurm launch.sizes=[{parameters: 1B, cpus: 0}]": "launch.sizes[0].cpus=0: below 1",
    "launch=slurm launch.sizes=[{parameters: 1B}, {parameters: 1e9}]": "launch.sizes[1].parameters=1000000000.0: given",
    "launch=slurm +launch.sbatch.licenses=[a]": "launch.sbatch.licenses=['a']: not one value",
    "launch=slurm launch.ingest.build=there": "launch.ingest.build=there: no such choice",
    "launch=slurm launch.ingest.fetch=jobs": "launch.ingest.fetch=jobs: files are fetched by the jobs that build",
    "launch=slurm launch.ingest.cpus=0": "launch.ingest.cpus=0: below 1",
    "launch=inline tracker.kind=wanb": "tracker.kind=wanb: no such choice",
    "launch=inline tracker.kind=wandb": "give tracker=wandb",
    "launch=inline tracker=wandb tracker.mode=sometimes": "tracker.mode=sometimes: no such choice",
}


@pytest.fixture(scope="module")
def done(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which all is done."""
    root = tmp_path_factory.mktemp("done") / "root"
    assert launched(texts, root, ["start=scratch tokens=0.25x"]).failures == []
    return root


@pytest.mark.parametrize("do", ["plan", "run"])
@pytest.mark.parametrize("given", BAD)
def test_bad_settings_are_refused_though_all_is_done(given: str, do: str, texts: Path, done: Path) -> None:
    knobs = [*command(texts, "start=scratch tokens=0.25x").replace("launch=inline", "").split(), f"root={done}"]
    own = _overrides(given)
    with pytest.raises(InputError) as caught:
        run_points(collect([*knobs, *own, f"do={do}"]))
    assert BAD[given] in str(caught.value)


def _overrides(line: str) -> list[str]:
    """Split at the blanks before a key."""
    words: list[str] = []
    for word in line.split():
        if "=" in word and not (words and words[-1].count("[") > words[-1].count("]")):
            words.append(word)
        else:
            words[-1] += f" {word}"
    return words


def test_jobs_of_larger_models_are_what_sizes_say() -> None:
    (point,) = collect(["launch=slurm", "launch.sizes=[{parameters: 1B, nodes: 2}, {parameters: 300k, cpus: 8}]"])
    cluster = read_launch(point.config).cluster
    assert cluster is not None
    jobs = [cluster.job_of(parameters) for parameters in (0, 299_999, 300_000, 10**9, 10**12)]
    assert [(job.nodes, job.cpus) for job in jobs] == [(1, 4), (1, 4), (1, 8), (2, 4), (2, 4)]
