"""What many test modules start from."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.pop("COLUMNS", None)  # the processes of `make test` have one; what is printed is as wide as it says
os.environ["HF_HUB_OFFLINE"] = "1"  # before the client is imported: no test asks a real hub
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is, as in commands: threads of busy cores wait for each other

import pytest
import torch

from harness.store.store import Store
from tests.slurm.cluster import cluster, queue, slurm, until
from tests.tiny import planned, train, write_texts

# A shell starts what runs in its background deaf to Ctrl-C, and so would be all processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# As a worker has: another number of threads is another last bit, and on a busy machine they wait for each other.
torch.set_num_threads(1)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes name no test: gzip writes the time of day into them, and processes that share a suite must agree."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stays on one core where tests share two (`--dist=loadgroup`): a file, whose fixtures its tests share, and
    all tests against SLURM, since one munged serves all clusters of a machine."""
    for item in items:
        group = "slurm" if item.get_closest_marker("slurm") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts of two kinds, upstream/ and downstream/, that no test changes."""
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which a few runs were trained without any disturbance. No test changes its states."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    train(planned(texts, store, "replay=0.25", "schedule=infinite_cosine"), store)
    return store


@pytest.fixture(scope="session")
def whole_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the one SLURM of all tests that want one (`usefixtures("box")`), or a skip where there can be none:
    a second one would take its host's names."""
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch, cluster(folder) as reason:
        if reason:
            pytest.skip(reason)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setattr("harness.slurm.watch.LOOK_SECONDS", 0.3)  # whoever waits looks more often
        yield folder


@pytest.fixture
def box(whole_box: Path) -> Iterator[Path]:
    """The same; no test leaves jobs."""
    yield whole_box
    if queue():
        slurm("scancel", "--user=root")
        until(lambda: not queue())
