"""What a queued job needs, frozen as files named by their content: the code it runs, and what it does.

Without torch. A job may start hours after it was submitted: what is edited meanwhile must not reach it, and nothing is
unpickled.

    code = freeze_code(root / "jobs")                # jobs/code-<sha12>/ with harness/ and its conf/, for PYTHONPATH
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.core.files import temporary_name
from harness.core.shipped import CODE, CONF


def freeze_code(folder: Path) -> Path:
    """A copy of harness/ with its conf/ below `folder`, made unless it is there: what runs now, whatever is edited."""
    parts = {"harness": (CODE, "*.py"), "harness/conf": (CONF, "*.yaml")}  # conf/ is a link in a checkout
    contents = {
        f"{name}/{path.relative_to(part).as_posix()}": path.read_bytes()
        for name, (part, pattern) in parts.items()
        for path in sorted(part.rglob(pattern))
    }
    hashed = hashlib.sha256(b"".join(name.encode() + b"\0" + content + b"\0" for name, content in contents.items()))
    return freeze(folder, f"code-{hashed.hexdigest()[:12]}", contents)


def freeze(folder: Path, name: str, contents: Mapping[str, bytes]) -> Path:
    """The folder `folder`/`name` with these files, made whole or not at all; one that is there is left as it is."""
    target, temporary = folder / name, folder / temporary_name()
    folder.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        return target
    try:
        for path, content in contents.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(content)
        os.rename(temporary, target)
    except OSError:
        if not target.is_dir():  # else another process has just made it
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
