"""One SLURM for all tests that want one (`usefixtures("box")`), each of which finds its queue empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import cluster, queue, slurm, until


@pytest.fixture(scope="session")
def whole_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a SLURM that runs, or a skip where there can be none."""
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
