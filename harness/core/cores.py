"""How many cores this process may use. Standard library only."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CGROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores(cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """Those it is bound to, where the system binds processes (macOS does not), and no more than its quota pays for.

    A quota is that of the process's cgroup (v2: `cpu.max`; v1: `cpu.cfs_quota_us`) or of any above it; a container may
    see its own as the topmost. One and a half cores are one.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _groups(cgroups, own):
        for read in (_quota_v2, _quota_v1):
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no quota
                quota, period = read(folder)
                if quota > 0 < period:  # v1 says -1 for none
                    count = min(count, max(1, quota // period))
    return count


def _quota_v2(group: Path) -> tuple[int, int]:
    quota, period = (group / "cpu.max").read_text().split()
    return int(quota), int(period)


def _quota_v1(group: Path) -> tuple[int, int]:
    return int((group / "cpu.cfs_quota_us").read_text()), int((group / "cpu.cfs_period_us").read_text())


def _groups(cgroups: Path, own: Path) -> list[Path]:
    """The folders of the groups that this process is in, and of all above them."""
    found = [cgroups, cgroups / "cpu", cgroups / "cpu,cpuacct"]
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = cgroups / controllers if controllers else cgroups
            group = top / path.lstrip("/")
            found += [group, *(parent for parent in group.parents if parent.is_relative_to(cgroups))]
    return list(dict.fromkeys(found))
