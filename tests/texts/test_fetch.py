"""Files come once and whole, whatever the connection does; what is not what was listed is named and kept out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.texts import fetch as fetching
from harness.texts.fetch import fetch
from harness.texts.listed import ListedFile
from harness.texts.listings import current, resolve
from tests.hub_server import Hub

NAME = "someone/texts"
CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        server.use(monkeypatch, tmp_path)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield server


def listed(server: Hub, content: bytes = CONTENT, version: str = "") -> ListedFile:
    commit = server.commit(NAME, {"data/a.jsonl.zst": CONTENT}, kind="dataset")
    known = version or f"sha256 {hashlib.sha256(content).hexdigest()}"
    return ListedFile("data/a.jsonl.zst", len(content), known, f"hf://datasets/{NAME}@{commit}/data/a.jsonl.zst")


def test_a_file_comes_once(server: Hub, tmp_path: Path) -> None:
    file = listed(server)
    path = fetch(file, tmp_path / "fetched", "corpus.x.files")
    assert path.read_bytes() == CONTENT
    asked = len(server.requests)
    assert fetch(file, tmp_path / "fetched", "corpus.x.files") == path
    assert len(server.requests) == asked
    assert [p.name for p in (tmp_path / "fetched").iterdir()] == [path.name]


def test_one_that_lies_here_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(CONTENT)
    file = ListedFile("a.txt", len(CONTENT), "etag 1", str(path))
    assert fetch(file, tmp_path / "fetched", "corpus.x.files") == path
    assert fetch(replace(file, url=f"file://{path}"), tmp_path / "fetched", "corpus.x.files") == path
    assert not (tmp_path / "fetched").exists()


def test_a_cut_connection_goes_on_where_it_ended(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_CHUNK", 50_000)
    file = listed(server)
    server.fault("GET /storage", "cut", 3)
    assert fetch(file, tmp_path, "corpus.x.files").read_bytes() == CONTENT


def test_what_a_killed_command_has_brought_is_used(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_CHUNK", 50_000)
    file = listed(server)

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(file, tmp_path / "fetched", "corpus.x.files", killed)
    (part,) = (tmp_path / "fetched").iterdir()
    assert part.name.endswith(".part")
    assert 0 < part.stat().st_size < len(CONTENT)
    brought: list[int] = []
    assert fetch(file, tmp_path / "fetched", "corpus.x.files", brought.append).read_bytes() == CONTENT
    assert sum(brought) < len(CONTENT)


@pytest.mark.parametrize("fault", [429, 503])
def test_a_busy_server_is_asked_again_and_then_told_in_one_line(fault: int, server: Hub, tmp_path: Path) -> None:
    file = listed(server)
    server.fault("GET .*resolve.*a.jsonl.zst", fault, 2)
    assert fetch(file, tmp_path / "fetched", "corpus.x.files").read_bytes() == CONTENT
    server.fault(".*a.jsonl.zst", fault, 10_000)
    with pytest.raises(InputError, match=r"^corpus\.x\.files=data/a\.jsonl\.zst: cannot be fetched \(.*again") as told:
        fetch(file, tmp_path / "other", "corpus.x.files", wait=0)
    assert "\n" not in str(told.value)
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("fault", [401, 403, 404])
def test_what_is_gone_or_closed_is_one_line_at_once(fault: int, server: Hub, tmp_path: Path) -> None:
    file = listed(server)
    server.fault(".*a.jsonl.zst", fault, 10_000)
    with pytest.raises(InputError, match=r"a\.jsonl\.zst: cannot be fetched \(.*open to you") as told:
        fetch(file, tmp_path / "fetched", "corpus.x.files", wait=60)
    assert "\n" not in str(told.value)


def test_other_bytes_than_those_listed_are_refused(server: Hub, tmp_path: Path) -> None:
    file = listed(server)
    server.fault("GET /storage", "wrong", 1)
    with pytest.raises(InputError, match=r"a\.jsonl\.zst: is not what was listed"):
        fetch(file, tmp_path / "fetched", "corpus.x.files")
    assert list((tmp_path / "fetched").iterdir()) == []
    assert fetch(file, tmp_path / "fetched", "corpus.x.files").read_bytes() == CONTENT
    for other in (listed(server, CONTENT[:-1], "blob x"), listed(server, CONTENT + b"1", "blob x")):
        with pytest.raises(InputError, match=r"a\.jsonl\.zst: (is not what was listed|cannot be fetched)"):
            fetch(other, tmp_path / "fetched", "corpus.x.files", wait=0)


def test_a_server_without_ranges_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec  # type: ignore[import-untyped]

    fsspec.filesystem("memory").pipe("/texts/a.txt", CONTENT)
    file = ListedFile("a.txt", len(CONTENT), "etag 1", "memory://texts/a.txt")
    file = replace(file, version=current("x", file).version)
    final = fetching.place_of_file(file, tmp_path)
    final.with_name(f"{final.name}.part").write_bytes(b"half")
    opened = type(fsspec.open("memory://texts/a.txt").open())

    seek = opened.seek

    def refused(self: object, place: int, *rest: int) -> int:
        if place == 4:
            raise ValueError("Cannot seek streaming file")
        return int(seek(self, place, *rest))

    monkeypatch.setattr(opened, "seek", refused)
    assert fetch(file, tmp_path, "corpus.x.files").read_bytes() == CONTENT


def test_one_that_changed_on_its_server_is_named(tmp_path: Path) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/changing/a.txt", CONTENT)
    file = ListedFile("a.txt", len(CONTENT), "", "memory://changing/a.txt")
    known = replace(file, version=current("x", file).version)
    assert fetch(known, tmp_path, "corpus.x.files").read_bytes() == CONTENT
    system.pipe("/changing/a.txt", CONTENT[::-1])  # as many bytes, others
    with pytest.raises(InputError, match=r"^corpus\.x\.files=a\.txt: has changed since it was listed"):
        fetch(known, tmp_path / "later", "corpus.x.files")
    assert list((tmp_path / "later").iterdir()) == []


def test_a_small_file_of_a_hub_is_checked_by_its_blob(server: Hub, tmp_path: Path) -> None:
    server.commit(NAME, {"a.jsonl": b"{}\n"}, kind="dataset")
    (file,) = resolve("corpus.x.files", [f"hf://datasets/{NAME}/a.jsonl"], tmp_path).files
    assert file.version.startswith("blob ")
    server.fault("GET /datasets/.*a.jsonl", "wrong")
    with pytest.raises(InputError, match="another size or checksum arrived"):
        fetch(file, tmp_path / "fetched", "corpus.x.files")
    assert fetch(file, tmp_path / "fetched", "corpus.x.files").read_bytes() == b"{}\n"
