"""Files of a corpus are known by name, size and version; servers are asked once, and what is wrong is one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from harness.core.errors import InputError
from harness.formats.servers import UnreachableError
from harness.texts.listed import ListedFile
from harness.texts.listings import current, kept, local_listing, resolve
from tests.hub_server import Hub

PILE = {f"train/{n:02}.jsonl.zst": bytes([n]) * 40 for n in range(3)} | {"val.jsonl.zst": b"v", "README.md": b"r"}
URL = "hf://datasets/some/pile/train/*.jsonl.zst"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        hub.commit("some/pile", PILE, kind="dataset")
        yield hub


def refusal(*patterns: str, root: Path, kind: str = "files") -> str:
    with pytest.raises(InputError) as caught:
        resolve("corpus.x.files", patterns, root, kind)
    assert "\n" not in str(caught.value)
    assert not list(root.glob("listings/*")), "nothing is kept"
    return str(caught.value)


def test_a_hubs_files_are_known_by_their_sha256_and_asked_for_once(hub: Hub, tmp_path: Path) -> None:
    found = resolve("corpus.pile.files", [URL], tmp_path)
    assert [file.name for file in found.files] == ["00.jsonl.zst", "01.jsonl.zst", "02.jsonl.zst"]
    commit = hub.repositories["dataset", "some/pile"].revisions["main"]
    content = PILE["train/01.jsonl.zst"]
    url = f"hf://datasets/some/pile@{commit}/train/01.jsonl.zst"
    assert found.files[1] == ListedFile("01.jsonl.zst", 40, f"sha256 {hashlib.sha256(content).hexdigest()}", url)
    assert hub.count("resolve/") == hub.count("GET /storage") == 0, "nothing is fetched"
    asked = hub.count()
    assert kept([URL], [tmp_path / "other", tmp_path]) == found
    assert kept([URL], [tmp_path]).files == found.files  # type: ignore[union-attr]
    assert hub.count() == asked
    assert kept([URL, URL], [tmp_path]) is None


@pytest.mark.usefixtures("hub")
def test_the_same_files_here_and_there_are_one_corpus(tmp_path: Path) -> None:
    for name, content in PILE.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(content)
    there = resolve("corpus.pile.files", [URL], tmp_path)
    assert local_listing("corpus.pile.files", [f"{tmp_path}/here/train/*.jsonl.zst"]) == there
    assert local_listing("corpus.pile.files", [f"{tmp_path}/here/train"]) == there


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("hf://datasets/some/pile/val.jsonl.zst", ["val.jsonl.zst"]),
        ("hf://datasets/some/pile/train", ["00.jsonl.zst", "01.jsonl.zst", "02.jsonl.zst"]),
        (
            "hf://datasets/some/pile@main/**/*.jsonl.zst",
            [f"train/0{n}.jsonl.zst" for n in range(3)] + ["val.jsonl.zst"],
        ),
        ("hf://datasets/some/pile/train/0[01].jsonl.zst", ["00.jsonl.zst", "01.jsonl.zst"]),
    ],
)
def test_files_folders_and_globs_of_a_hub(tmp_path: Path, url: str, names: list[str]) -> None:
    assert [file.name for file in resolve("corpus.x.files", [url], tmp_path).files] == names


def test_a_revision_is_its_commit_whatever_becomes_of_it(hub: Hub, tmp_path: Path) -> None:
    before = resolve("corpus.x.files", [URL], tmp_path)
    hub.commit("some/pile", {**PILE, "train/01.jsonl.zst": b"other"}, kind="dataset")
    assert current("corpus.x.files", before.files[1]).version == before.files[1].version
    assert kept([URL], [tmp_path]) == before
    assert resolve("corpus.x.files", [URL], tmp_path) != before


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("hf://datasets/some/none/*.jsonl", "the hub answers 401: it has no such repository, or a closed one; "),
        ("hf://datasets/some/none/*.jsonl", "set HF_TOKEN if it is closed"),
        ("hf://datasets/some/pile@gone/*.jsonl", "the repository has no such revision"),
        ("hf://datasets/some/pile/test/*.jsonl", "matches no file"),
        ("hf://datasets/some/pile/none.jsonl", "matches no file"),
        ("hf://datasets/some/pile/*", "README.md: unknown suffix"),
        ("hf://datasets/some", "names no repository"),
        ("nope://bucket/a.jsonl", "nothing is known of nope://"),
        ("s3://bucket/*.jsonl", "s3:// needs a package that is not installed; pip install s3fs"),
        ("https://host/a.jsonl", "https:// needs a package that is not installed; pip install aiohttp"),
        ("https://host/*.jsonl", "a web server lists no files"),
        ("memory://nothing/*.jsonl", "matches no file"),
        ("memory://nothing/a.jsonl", "no such file there"),
    ],
)
def test_a_wrong_address_is_one_line(tmp_path: Path, url: str, told: str) -> None:
    message = refusal(url, root=tmp_path)
    assert message.startswith("corpus.x.files=")
    assert told in message


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_busy_hub_is_asked_again_and_then_named(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.fault("GET /api/datasets", status, times=2)
    assert len(resolve("corpus.x.files", [URL], tmp_path / "good").files) == 3
    hub.fault("GET /api/datasets", status, times=1000)
    assert f"the server answered {status}, 5 times; try again later" in refusal(URL, root=tmp_path)


def test_a_closed_repository_shows_no_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("some/closed", PILE, kind="dataset", token="hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    message = refusal("hf://datasets/some/closed/train/*.jsonl.zst", root=tmp_path)
    assert "the token that is set may not read it" in message
    assert "hf_" not in message
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    resolve("corpus.x.files", ["hf://datasets/some/closed/train/*.jsonl.zst"], tmp_path)
    assert "hf_secret" not in "".join(file.read_text() for file in (tmp_path / "listings").iterdir())


def test_without_a_network_what_was_kept_serves(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve("corpus.x.files", [URL], tmp_path)
    hub.go_offline(monkeypatch)
    assert kept([URL], [tmp_path]) == found
    with pytest.raises(UnreachableError, match="was never listed, and HF_HUB_OFFLINE is set"):
        resolve("corpus.x.files", ["hf://datasets/some/pile/val.jsonl.zst"], tmp_path)


def test_any_file_system_of_fsspec(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(3):
        memory.pipe(f"/corpus/{number}/a.jsonl", b"{}" * (number + 1))
    try:
        found = resolve("corpus.x.files", ["memory://corpus/*/a.jsonl"], tmp_path)
        assert [(file.name, file.size) for file in found.files] == [
            ("0/a.jsonl", 2),
            ("1/a.jsonl", 4),
            ("2/a.jsonl", 6),
        ]
        assert all(file.version.startswith("modified ") for file in found.files)
        with fsspec.open(found.files[2].url) as stream:
            assert stream.read() == b"{}{}{}"
        assert current("corpus.x.files", found.files[0]) == found.files[0]
        memory.pipe("/corpus/0/a.jsonl", b"{},{}")
        assert current("corpus.x.files", found.files[0]) != found.files[0]
        both = resolve("corpus.x.files", ["memory://corpus/0/a.jsonl", "memory://corpus/1"], tmp_path)
        assert [file.name for file in both.files] == ["0/a.jsonl", "1/a.jsonl"]
    finally:
        memory.rm("/corpus", recursive=True)


def test_files_here_are_known_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    before = local_listing("corpus.x.files", [f"{tmp_path}/*.jsonl"])
    (tmp_path / "a.jsonl").write_text('{"text": "b"}\n')
    assert local_listing("corpus.x.files", [f"{tmp_path}/*.jsonl"]) != before
    for pattern, told in (("*.json", "matches no file"), ("none", "no such file"), ("*", "b.xml: unknown suffix")):
        (tmp_path / "b.xml").write_text("<x/>")
        with pytest.raises(InputError, match=told):
            local_listing("corpus.x.files", [f"{tmp_path}/{pattern}"])
    with pytest.raises(InputError, match=r"known are \.bin, \.idx"):
        local_listing("corpus.x.files", [f"{tmp_path}/a.*"], "megatron")


@pytest.mark.usefixtures("hub")
def test_a_damaged_listing_is_asked_for_again(tmp_path: Path) -> None:
    resolve("corpus.x.files", [URL], tmp_path)
    (place,) = (tmp_path / "listings").iterdir()
    document = json.loads(place.read_text())
    document["files"][0][1] += 1
    place.write_text(json.dumps(document))
    assert kept([URL], [tmp_path]) is None
    place.write_text("{")
    assert kept([URL], [tmp_path]) is None
