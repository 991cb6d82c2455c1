"""How many cores: those bound to, those a container is paid for, and where the system knows of neither."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.core.cores import cores


@pytest.fixture(autouse=True)
def _eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def test_without_quotas_it_is_what_the_process_is_bound_to(tmp_path: Path) -> None:
    assert cores(tmp_path, tmp_path / "none") == 8


def test_where_processes_are_not_bound_it_is_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores(tmp_path, tmp_path / "none") == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(tmp_path, tmp_path / "none") == 1


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/", {"cpu.max": "max 100000\n"}, 8),
        ("0::/", {"cpu.max": "50000 100000\n"}, 1),  # half a core
        ("0::/", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/", {"cpu.max": "what\n"}, 8),
        ("0::/slice/job", {"slice/cpu.max": "400000 100000", "slice/job/cpu.max": "max 100000"}, 4),  # of a parent
        ("0::/slice/job", {"slice/cpu.max": "400000 100000", "slice/job/cpu.max": "200000 100000"}, 2),
        ("0::/../outside", {"cpu.max": "200000 100000"}, 2),  # seen from inside a container
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 8),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "500000", "cpu/job/cpu.cfs_period_us": "100000"}, 5),
        ("4:cpu:/docker/x", {"cpu/cpu.cfs_quota_us": "500000", "cpu/cpu.cfs_period_us": "100000"}, 5),
        ("3:memory:/job", {"memory/job/cpu.max": "100000 100000"}, 8),
    ],
)
def test_quotas_of_both_versions_of_cgroups(own: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(own + "\n")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cores(tmp_path, tmp_path / "own") == expected
