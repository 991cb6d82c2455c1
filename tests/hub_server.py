"""A model hub on loopback, as far as the real `huggingface_hub` client and `hf://` of fsspec use one.

Models and datasets, revisions with commits, large files behind a redirect with their SHA-256, ranges, closed
repositories, uploads, and faults on demand. Every request is counted.

    with Hub() as hub:
        hub.commit("someone/tiny", {"config.json": b"{}"})                  # -> the commit, 40 hex digits
        hub.commit("someone/tiny", files, revision="step3", kind="dataset")
        hub.use(monkeypatch, tmp_path)                                      # this process and its children ask it
        hub.fault("GET .*model.safetensors", "cut")                         # 404, 429, ...; "cut"; "wrong"
        hub.count("resolve")                                                # requests so far that match

What is modelled on the real one: `X-Repo-Commit`, `X-Linked-ETag`, `X-Linked-Size` and `X-Error-Code`; that 401 is the
answer for a name that does not exist and for a closed one alike; and that storage lies on another host, which gets no
token. Xet is not offered, so the client takes plain HTTP.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

LARGE = re.compile(r"\.(safetensors|bin|pt|zst|gz|parquet|arrow|idx|h5)$")  # what .gitattributes gives to LFS there
DATE = "2024-01-01T00:00:00.000Z"
PAGE = 1000  # entries in one answer that lists files, as the hub does it


@dataclass
class Repository:
    """Its commits by hash, its branches and tags by name, and the token without which it is hidden."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    token: str | None = None


class Hub:
    """The server; its repositories by (kind, name), its requests as "METHOD path" in order."""

    def __init__(self, write_token: str = "hf_writes") -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.tokens_seen: list[tuple[str, str]] = []  # host, Authorization header
        self.stored: dict[str, bytes] = {}  # large files by SHA-256
        self.bytes_sent: dict[str, int] = {}  # of large files, by name
        self.write_token = write_token
        self.delay = 0.0  # seconds before every answer
        self._faults: list[list[Any]] = []
        self._listings: dict[tuple[int, str, bool], list[dict[str, Any]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage = f"http://localhost:{self.port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(
        self,
        name: str,
        files: dict[str, bytes] | Path,
        revision: str = "main",
        kind: str = "model",
        token: str | None = None,
    ) -> str:
        """Make `files` (or those of a folder) the content of a revision. `token`: who lacks it sees no repository."""
        if isinstance(files, Path):
            found = sorted(path for path in files.rglob("*") if path.is_file())
            files = {path.relative_to(files).as_posix(): path.read_bytes() for path in found}
        repository = self.repositories.setdefault((kind, name), Repository())
        repository.token = token or repository.token
        said = json.dumps([name, revision, len(repository.commits), sorted((p, _sha256(d)) for p, d in files.items())])
        commit = hashlib.sha1(said.encode(), usedforsecurity=False).hexdigest()
        repository.commits[commit] = files
        repository.revisions[revision] = commit
        self.stored |= {_sha256(data): data for path, data in files.items() if LARGE.search(path)}
        return commit

    def fault(self, pattern: str, fault: int | str | bytes, times: int = 1) -> None:
        """The next `times` requests that match: an HTTP status, "cut" (half of the body), "wrong" (another
        byte), "circle" (sent to itself), or bytes to answer."""
        self._faults.append([re.compile(pattern), fault, times])

    def calm(self) -> None:
        """No more faults."""
        self._faults.clear()

    def count(self, pattern: str = "") -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def use(self, monkeypatch: pytest.MonkeyPatch, folder: Path, token: str | None = None) -> None:
        """Point this process and those it starts at the hub, with a cache of its own in `folder`."""
        constants = "huggingface_hub.constants"
        environment = {"HF_ENDPOINT": self.url, "HF_HOME": str(folder / "hf_home"), "HF_HUB_DISABLE_XET": "1"}
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        for key in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH"):
            monkeypatch.delenv(key, raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        # The client reads these from the environment once, when it is imported.
        monkeypatch.setattr(f"{constants}.ENDPOINT", self.url)
        monkeypatch.setattr(
            f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(folder / "hf_home" / "hub"))
        monkeypatch.setattr(f"{constants}.HF_TOKEN_PATH", str(folder / "hf_home" / "token"))
        monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        from huggingface_hub import HfFileSystem

        HfFileSystem.clear_instance_cache()  # it remembers listings

    def go_offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with HF_HUB_OFFLINE=1, for this process and those it starts."""
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def listed(self, files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
        """The entries of a folder: made once, however many pages they are asked for in."""
        key = id(files), folder, recursive
        if key not in self._listings:
            self._listings[key] = _listed(files, folder, recursive=recursive)
        return self._listings[key]

    def struck(self, request: str) -> int | str | bytes | None:
        """The fault that this request meets, if any."""
        for entry in self._faults:
            if entry[2] > 0 and entry[0].search(request):
                entry[2] -= 1
                return entry[1]  # type: ignore[no-any-return]
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@functools.lru_cache(maxsize=200_000)
def entry_of(path: str, data: bytes) -> dict[str, Any]:
    """A file as the tree of a repository lists it."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    last = {"id": blob, "title": "files", "date": DATE}
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob, "lastCommit": last}
    if LARGE.search(path):
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
    return entry


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        request = f"{self.command} {unquote(self.path)}"
        self.hub.requests.append(request)
        self.hub.tokens_seen.append((self.headers["Host"], self.headers["Authorization"] or ""))
        body = self._body()
        time.sleep(self.hub.delay)
        self.fault = self.hub.struck(request)
        if isinstance(self.fault, int):
            return self._error(self.fault, "EntryNotFound" if self.fault == 404 else None, "struck")
        if self.fault == "circle":
            return self._send(302, b"", {"Location": self.path})
        if isinstance(self.fault, bytes):
            return self._send(200, self.fault, {"Content-Type": "application/json"})
        parts = urlsplit(self.path)
        path, query = parts.path, parse_qs(parts.query)
        if self.command == "PUT":
            return self._put(path, body)
        if path.startswith("/storage/"):
            return self._send_file(self.hub.stored[path.rpartition("/")[2]], {"ETag": f'"{path.rpartition("/")[2]}"'})
        if path in ("/api/repos/create", "/api/validate-yaml"):
            return (
                self._create(json.loads(body))
                if path.endswith("create")
                else self._json({"errors": [], "warnings": []})
            )
        resolve = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+?)(?:/(\w[\w-]*)(?:/([^/]+)(?:/(.+))?)?)?", path)
        batch = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path)
        if resolve:
            kind, name = resolve[1] or "models", resolve[2]
        elif api:
            kind, name = api[1], api[2]
        elif batch:
            kind, name = batch[1] or "models", batch[2]
        else:
            return self._error(404, None, "no such page")
        repository = self._repository(kind[:-1], name)
        if repository is None:
            return None
        if batch:
            return self._batch(json.loads(body))
        if api and api[3] in ("preupload", "commit"):
            return self._commit(kind, name, api, body)
        if api and api[3] == "refs":
            branches = [
                {"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repository.revisions.items()
            ]
            return self._json({"branches": branches, "converts": [], "tags": []})
        revision = unquote(resolve[3] if resolve else (api[4] if api and api[4] else "main"))
        commit = repository.revisions.get(revision, revision)
        if commit not in repository.commits:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.commits[commit]
        if resolve:
            return self._resolve(files, unquote(resolve[4]), commit)
        assert api is not None
        if api[3] == "tree":
            return self._tree(files, unquote(api[5] or ""), query)
        if api[3] == "paths-info":
            given = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
            return self._json([entry for path in given for entry in _listed(files, path, here=True)])
        siblings = [
            {"rfilename": p, "blobId": e["oid"], "size": e["size"], "lfs": _linked(e)} for p, e in _entries(files)
        ]
        info = {"_id": "0", "id": name, "modelId": name, "sha": commit, "private": bool(repository.token)}
        return self._json(info | {"tags": [], "siblings": siblings, "lastModified": DATE, "createdAt": DATE})

    # reading

    def _repository(self, kind: str, name: str) -> Repository | None:
        """None: refused. A hub answers the same for a name that is wrong and for one that is closed."""
        repository = self.hub.repositories.get((kind, name))
        given = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if repository is not None and repository.token in (None, given):
            return repository
        if given and given != self.hub.write_token and repository is None:
            self._error(404, "RepoNotFound", "Repository not found")
        else:
            self._error(401, None, "Invalid username or password.")
        return None

    def _resolve(self, files: dict[str, bytes], path: str, commit: str) -> None:
        if path not in files:
            return self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        data, entry = files[path], entry_of(path, files[path])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{entry["oid"]}"', "Accept-Ranges": "bytes"}
        if "lfs" not in entry:
            return self._send_file(data, headers)
        oid = entry["lfs"]["oid"]
        headers |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(data))}
        return self._send(302, b"", headers | {"Location": f"{self.hub.storage}/storage/{path}/{oid}"})

    def _tree(self, files: dict[str, bytes], folder: str, query: dict[str, list[str]]) -> None:
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        found = self.hub.listed(files, folder, recursive)
        if folder and not found:
            return self._error(404, "EntryNotFound", "no such folder")
        first = int(query.get("cursor", ["0"])[0])
        more = {}
        if first + PAGE < len(found):
            asked = "&".join(f"{key}={value[0]}" for key, value in query.items() if key != "cursor")
            more = {"Link": f'<{self.hub.url}{urlsplit(self.path).path}?{asked}&cursor={first + PAGE}>; rel="next"'}
        return self._json(found[first : first + PAGE], more)

    # writing

    def _create(self, asked: dict[str, Any]) -> None:
        if not self._may_write():
            return None
        name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        key = (asked.get("type") or "model", name)
        if key in self.hub.repositories:
            return self._json(
                {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, status=409
            )
        self.hub.repositories[key] = Repository()
        self.hub.commit(name, {".gitattributes": b""}, kind=key[0])
        return self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": "0"})

    def _commit(self, kind: str, name: str, api: re.Match[str], body: bytes) -> None:
        if not self._may_write():
            return None
        if api[3] == "preupload":
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if LARGE.search(f["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            return self._json({"files": modes})
        branch = unquote(api[4])
        repository = self.hub.repositories[kind[:-1], name]
        files = dict(repository.commits[repository.revisions.get(branch, repository.revisions["main"])])
        for line in body.splitlines():
            change, value = (entry := json.loads(line))["key"], entry["value"]
            if change == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif change == "deletedFile":
                del files[value["path"]]
        commit = self.hub.commit(name, files, branch, kind[:-1])
        return self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def _batch(self, asked: dict[str, Any]) -> None:
        if not self._may_write():
            return None
        objects = []
        for entry in asked["objects"]:
            there = entry["oid"] in self.hub.stored
            upload = {"upload": {"href": f"{self.hub.storage}/storage/{entry['oid']}"}}
            objects.append(entry | ({} if there else {"actions": upload}))
        return self._json({"transfer": "basic", "objects": objects})

    def _put(self, path: str, body: bytes) -> None:
        oid = path.rpartition("/")[2]
        if _sha256(body) != oid:
            return self._error(400, None, "the checksum does not match")
        self.hub.stored[oid] = body
        return self._send(200, b"", {"ETag": f'"{oid}"'})

    def _may_write(self) -> bool:
        may = self.headers["Authorization"] == f"Bearer {self.hub.write_token}"
        if not may:
            self._error(401, None, "Invalid username or password.")
        return may

    # HTTP

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _json(self, document: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _error(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        more = {"X-Error-Message": quote(message, " :"), **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), {"Content-Type": "application/json", **more})

    def _send_file(self, data: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"] or "")
        if not asked:
            return self._send(200, data, headers)
        first = int(asked[1]) if asked[1] else len(data) - int(asked[2])
        last = min(int(asked[2]) if asked[1] and asked[2] else len(data), len(data) - 1)
        if first >= len(data):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        return self._send(206, data[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if self.fault == "wrong" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.path.startswith("/storage/"):
            name = unquote(self.path.removeprefix("/storage/").rpartition("/")[0])
            self.hub.bytes_sent[name] = self.hub.bytes_sent.get(name, 0) + len(body)
        if self.fault == "cut":
            body, self.close_connection = body[: len(body) // 2], True
        self.wfile.write(body)


def _entries(files: dict[str, bytes]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, entry_of(path, data)) for path, data in sorted(files.items())]


def _linked(entry: dict[str, Any]) -> dict[str, Any] | None:
    lfs = entry.get("lfs")
    return lfs and {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}


def _listed(files: dict[str, bytes], at: str, *, recursive: bool = False, here: bool = False) -> list[dict[str, Any]]:
    """Files and folders inside the folder `at`, or (`here`) the one entry at this path."""
    inside = at.strip("/") + "/" if at.strip("/") else ""
    if here:
        if at in files:
            return [entry_of(at, files[at])]
        return [_folder(at)] if any(path.startswith(inside) for path in files) else []
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(files):
        if not path.startswith(inside):
            continue
        steps = path[len(inside) :].split("/")
        for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
            folder = inside + "/".join(steps[:depth])
            found.setdefault(folder, _folder(folder))
        if recursive or len(steps) == 1:
            found[path] = entry_of(path, files[path])
    return list(found.values())


def _folder(path: str) -> dict[str, Any]:
    oid = hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
    return {
        "type": "directory",
        "path": path,
        "size": 0,
        "oid": oid,
        "lastCommit": {"id": oid, "title": "files", "date": DATE},
    }
