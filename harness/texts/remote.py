"""Files that a server has: their names, sizes and versions. Nothing is opened and nothing fetched.

`hf://datasets/OWNER/NAME@REV/path/*.jsonl.zst` through `huggingface_hub` (a revision is resolved to its commit), any
other URL through the file system that fsspec has for its scheme. `harness.texts.listings` keeps the answers.

    ask("corpus.pile.files", "hf://datasets/a/b/train/*.jsonl.zst", "files")        # list of ListedFile

Refusals are InputErrors in one line; none shows a token. `servers.UnreachableError`: nobody answered.
"""

from __future__ import annotations

import datetime
import glob
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from harness.core.errors import InputError
from harness.formats import servers
from harness.formats.reading import SUFFIXES, suffix_of
from harness.formats.servers import Trouble, UnreachableError, patiently, who_may_read
from harness.texts.listed import ListedFile

PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
PACKAGES |= {"az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "adl": "adlfs", "sftp": "paramiko", "ssh": "paramiko"}
MEGATRON = (".bin", ".idx")
_VERSIONS = ("etag", "checksum", "md5", "content-md5", "md5hash", "crc32c", "sha256")  # what a server calls them
_TIMES = ("lastmodified", "last-modified", "last_modified", "mtime", "updated", "created")
T = TypeVar("T")


def ask(field: str, pattern: str, kind: str) -> list[ListedFile]:
    """The files of one URL. `kind` says which names are known: of texts (files), Megatron's (megatron), or any."""
    return (_of_hub if pattern.startswith("hf://") else _of_server)(field, pattern, kind)


def fixed_part(pattern: str) -> str:
    """The folders before the first one that holds a wildcard."""
    fixed: list[str] = []
    for part in pattern.split("/")[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return "/".join(fixed) or ("/" if pattern.startswith("/") else ".")


def of_a_known_kind(field: str, pattern: str, names: Sequence[str], kind: str) -> list[str]:
    """The names, hidden ones left out. InputError if there are none, or one is of no known format."""
    shown = [name for name in names if not any(part.startswith((".", "_")) for part in name.split("/"))]
    if not shown:
        raise InputError(field, pattern, "matches no file", "check the path and its wildcards (** for any folders)")
    for name in shown:
        if kind != "any" and not (name.endswith(MEGATRON) if kind == "megatron" else suffix_of(name)):
            known = ", ".join(MEGATRON if kind == "megatron" else SUFFIXES)
            raise InputError(field, name, "unknown suffix", f"known are {known}; narrow the glob: *.jsonl.zst")
    return shown


def _of_hub(field: str, pattern: str, kind: str) -> list[ListedFile]:
    """Files of a repository at the commit that its revision stands for, by their SHA-256 where they are large."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    repo_type, name, revision, path = _hub_parts(field, pattern)
    api = HfApi()
    info = api.dataset_info if repo_type == "dataset" else api.model_info
    commit = str(_asked(field, pattern, lambda: info(name, revision=revision or None)).sha)
    base = "" if not glob.has_magic(path) else fixed_part(path).strip(".")

    def tree() -> list[Any]:
        below = base if glob.has_magic(path) else path
        if path and not glob.has_magic(path):
            found = api.get_paths_info(name, [path], revision=commit, repo_type=repo_type)
            if found and isinstance(found[0], RepoFile):
                return list(found)
            if not found:
                return []
        listed = api.list_repo_tree(name, below or None, recursive=True, revision=commit, repo_type=repo_type)
        return [entry for entry in listed if isinstance(entry, RepoFile)]

    matches = _matcher(path)
    entries = {entry.path: entry for entry in _asked(field, pattern, tree) if matches(entry.path)}
    if not glob.has_magic(path):
        base = path if path not in entries else path.rpartition("/")[0]
    names = {file.removeprefix(f"{base}/") if base else file: file for file in entries}
    kinds = "datasets/" if repo_type == "dataset" else ""
    found = []
    for short in of_a_known_kind(field, pattern, list(names), kind):
        entry = entries[names[short]]
        version = f"sha256 {entry.lfs.sha256}" if entry.lfs else f"blob {entry.blob_id}"
        found.append(ListedFile(short, int(entry.size), version, f"hf://{kinds}{name}@{commit}/{entry.path}"))
    return found


def _hub_parts(field: str, url: str) -> tuple[str, str, str, str]:
    """(dataset or model, OWNER/NAME, revision or empty, path) of a hub's URL."""
    text = url.removeprefix("hf://")
    repo_type = "dataset" if text.startswith("datasets/") else "model"
    parts = text.removeprefix("datasets/").split("/")
    if len(parts) < 2 or not all(parts[:2]):
        raise InputError(field, url, "names no repository", "give hf://datasets/OWNER/NAME@REVISION/path/*.jsonl.zst")
    name, _, revision = "/".join(parts[:2]).partition("@")
    return repo_type, name, revision.replace("%2F", "/"), "/".join(parts[2:])


def _of_server(field: str, pattern: str, kind: str) -> list[ListedFile]:
    """Files of any other URL, by what the server says changes with them."""
    scheme = pattern.partition("://")[0]
    magic = glob.has_magic(pattern.partition("://")[2]) and scheme not in ("http", "https")
    if scheme in ("http", "https") and glob.has_magic(pattern.partition("?")[0]):
        why = "a web server lists no files, so that no glob can match"
        raise InputError(field, pattern, why, "list the URLs: [https://.../a.jsonl.zst, ...]")
    system, path = _system(field, pattern, scheme)

    def listed() -> dict[str, dict[str, Any]]:
        if magic:
            return dict(system.glob(path, detail=True))
        info = dict(system.info(path))
        return dict(system.find(path, detail=True)) if info.get("type") == "directory" else {path: info}

    found = {one: info for one, info in _asked(field, pattern, listed).items() if info.get("type") != "directory"}
    base = fixed_part(path) if magic else path if path not in found else path.rpartition("/")[0]
    names = {one.removeprefix(base).lstrip("/"): one for one in found}
    rows = []
    for name in of_a_known_kind(field, pattern, list(names), kind):
        info = {str(key).lower(): value for key, value in found[names[name]].items()}
        if not isinstance(info.get("size"), int):
            raise InputError(
                field, names[name], "the server does not say how large it is", "download it, and give a path"
            )
        rows.append(ListedFile(name, info["size"], _version(info), str(system.unstrip_protocol(names[name]))))
    return rows


def _version(info: dict[str, Any]) -> str:
    """What changes with the file; empty where the server says nothing of the kind."""
    for key in _VERSIONS:
        if info.get(key):
            kind = "etag" if key == "etag" else key
            return f"{kind} {str(info[key]).strip().strip(chr(34))}"
    changed = next((info[key] for key in _TIMES if info.get(key)), None)
    if isinstance(changed, datetime.datetime):
        changed = changed.timestamp()
    return "" if changed is None else f"modified {round(changed, 3) if isinstance(changed, float) else changed}"


def _system(field: str, pattern: str, scheme: str) -> tuple[Any, str]:
    import fsspec  # type: ignore[import-untyped]

    if scheme not in fsspec.available_protocols():
        why = f"nothing is known of {scheme}://"
        raise InputError(field, pattern, why, "use hf://, s3://, gs://, https:// or a path")
    try:
        system, path = fsspec.core.url_to_fs(pattern)
    except ImportError as error:
        package = PACKAGES.get(scheme)
        needed = f"pip install {package}" if package else " ".join(str(error).split())
        raise InputError(field, pattern, f"{scheme}:// needs a package that is not installed", needed) from None
    except Exception as error:
        raise InputError(field, pattern, f"cannot be opened ({type(error).__name__})", "check the URL") from None
    return system, str(path)


def _matcher(path: str) -> Callable[[str], bool]:
    """Does a path of a repository match the one that was asked for: a glob, a file, or a folder?"""
    if not glob.has_magic(path):
        return lambda name: not path or name == path or name.startswith(f"{path.rstrip('/')}/")
    from fsspec.utils import glob_translate  # type: ignore[import-untyped]

    pattern = re.compile(glob_translate(path))
    return lambda name: pattern.match(name) is not None


def _asked(field: str, url: str, ask: Callable[[], T]) -> T:
    """The answer, after some tries where the server is busy; its refusals as one line each."""
    return patiently(ask, lambda error, trouble: _refusal(field, url, error, trouble))


def _refusal(field: str, url: str, error: Exception, trouble: Trouble) -> InputError:
    kind, status = trouble.kind, trouble.status
    if kind == "offline":
        return UnreachableError(field, url, "was never listed, and HF_HUB_OFFLINE is set", "unset it once")
    if kind == "busy":
        return InputError(
            field, url, f"the server answered {status}, {len(servers.WAITS) + 1} times", "try again later"
        )
    if kind == "no file":
        return InputError(field, url, "matches no file", "the repository has no such folder")
    if kind == "no revision":
        return InputError(field, url, "the repository has no such revision", "give one that it has after @")
    if kind == "closed" and url.startswith("hf://"):
        why = f"the hub answers {status}: it has no such repository, or a closed one"
        return InputError(field, url, why, who_may_read())
    if status in (401, 403):
        return InputError(
            field, url, f"the server answers {status}: it is closed", "give it credentials, or download it"
        )
    if status == 404 or isinstance(error, FileNotFoundError):
        return InputError(field, url, "no such file there", "check the URL")
    if kind in ("unreachable", "broke"):
        why = f"was never listed, and no server answers ({trouble.name})"
        return UnreachableError(field, url, why, "check the network")
    return InputError(field, url, f"the server's answer is of no use ({trouble.name})", "check the URL")
