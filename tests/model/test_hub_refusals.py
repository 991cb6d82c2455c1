"""What no hub can give: names, repositories without a model, settings and disks that do not serve. A line each."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.compose.compose import collect
from harness.config.start import named_checkpoint, tokenizer_of
from harness.core.errors import InputError
from harness.formats import servers
from harness.model import hub
from harness.model.checkpoints import kept
from tests.checkpoints import save_neox
from tests.hub_server import Hub

NAME = "someone/tiny"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A repository with a model and no tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    save_neox(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        server.use(monkeypatch, tmp_path)
        monkeypatch.setattr(servers, "WAITS", (0.0,))
        monkeypatch.setattr("time.sleep", lambda _: None)  # the client has waits of its own
        yield server


def refusal(root: Path, revision: str = "") -> str:
    """The line of a repository that cannot be resolved; it leaves nothing."""
    with pytest.raises(InputError) as caught:
        hub.resolve(NAME, revision, root)
    assert "\n" not in str(caught.value)
    assert not root.exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("https://huggingface.co/someone/tiny", "give path=someone/tiny"),
        ("https://huggingface.co/someone/tiny/tree/step3", "give path=someone/tiny revision=step3"),
        ("hf://someone/tiny", "give path=someone/tiny"),
        ("someone/tiny@step3", "give path=someone/tiny revision=step3"),
        ("someone/tiny/", "give path=someone/tiny"),
    ],
)
def test_a_repository_that_is_named_otherwise_says_what_to_type(path: str, remedy: str) -> None:
    (point,) = collect(["start=hf", "lr=0.01"])
    with pytest.raises(InputError, match=r"^path=.*: is no folder here, and no name of a repository") as caught:
        named_checkpoint({**point.config, "path": path})
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    "path", ["a--b/c", "someone/tiny.git", "someone/-tiny", "sömeone/tïny", f"a/{'x' * 97}", "a/b."]
)
def test_what_a_hub_would_not_take_is_no_name_of_a_repository(path: str) -> None:
    (point,) = collect(["start=hf", "lr=0.01"])
    assert named_checkpoint({**point.config, "path": path}) is None


def test_a_branch_may_have_a_slash(server: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    commit = server.commit(NAME, files, revision="feature/one")
    found = hub.resolve(NAME, "feature/one", tmp_path / "root")
    assert found.commit == commit
    assert kept(NAME, "feature/one", [tmp_path / "root"]) == found


@pytest.mark.parametrize("revision", ["../../etc", "refs/pr/1", "a b", "x\ny", "a?b=c", "ü", "a" * 40, "1" * 300])
def test_a_revision_of_odd_characters_is_none(
    server: Hub, files: dict[str, bytes], tmp_path: Path, revision: str
) -> None:
    server.commit(NAME, files)
    assert "the repository has no such revision" in refusal(tmp_path / "root", revision)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ([], "has no config.json at this revision: it is empty"),
        ([".gitattributes", "README.md"], "it is empty"),
        (["config.json"], "neither model.safetensors nor model.safetensors.index.json; name"),
        (["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"], "it is an adapter; merge it"),
        (["model-q4.gguf"], "has no config.json at this revision, but model-q4.gguf"),
        (["config.json", "flax_model.msgpack"], "but flax_model.msgpack; name the repository that it was made from"),
        (["params.json", "consolidated.00.pth"], "but consolidated.00.pth"),
    ],
    ids=["empty", "readme", "config", "adapter", "gguf", "flax", "consolidated"],
)
def test_a_repository_without_a_model_says_what_it_has(
    server: Hub, files: dict[str, bytes], tmp_path: Path, held: list[str], told: str
) -> None:
    server.commit(NAME, {name: files.get(name, b"{}") for name in held})
    assert told in refusal(tmp_path / "root")
    assert server.count("resolve") == 0


@pytest.mark.parametrize(
    ("request_", "answer", "told"),
    [
        ("/api/models", "circle", "answer is of no use (TooManyRedirects)"),
        ("resolve/.*config.json", "circle", "answer is of no use (TooManyRedirects)"),
        ("/storage/", "circle", "answer is of no use (TooManyRedirects)"),
        ("/api/models", b"<html>log in</html>", "answer is of no use (JSONDecodeError)"),
        ("/tree/", b"<html>log in</html>", "answer is of no use (JSONDecodeError)"),
        ("/api/models", b'{"id": "someone/tiny"}', "answer is of no use (no commit)"),
        ("/api/models", 418, "answer is of no use (418)"),
        ("/storage/", b"", "model.safetensors is not a safetensors file"),
    ],
    ids=["circle", "circle of a file", "circle of a store", "page", "page for a list", "no commit", "418", "nothing"],
)
def test_an_answer_of_no_use_is_one_line(
    server: Hub, files: dict[str, bytes], tmp_path: Path, request_: str, answer: int | str | bytes, told: str
) -> None:
    server.commit(NAME, files)
    server.fault(request_, answer, times=100)
    assert told in refusal(tmp_path / "root")
    assert len(server.requests) < 80


@pytest.mark.parametrize("endpoint", ["not a url", "ftp://x/y", "http://", "http://[::1", "me:secret@host"])
def test_an_endpoint_that_is_no_address_is_told_as_such(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    told = refusal(tmp_path / "root")
    assert told.startswith("HF_ENDPOINT=")
    assert "is no address of a hub; unset it" in told
    assert "secret" not in told
    assert server.count() == 0


def test_a_token_that_can_be_none_is_told_and_not_shown(
    server: Hub, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.commit(NAME, files)
    monkeypatch.setenv("HF_TOKEN", "hf_sécret")
    assert refusal(tmp_path / "root").startswith("HF_TOKEN=...: holds characters that no token has")
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")  # as a file has it: the client takes the line's end away
    assert hub.resolve(NAME, "", tmp_path / "root").commit


@pytest.mark.parametrize("home", ["file/hub", "/proc/rewarm/hub"])
def test_a_cache_that_cannot_be_written_is_hf_homes(
    server: Hub, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    server.commit(NAME, files)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / home))
    assert refusal(tmp_path / "root").startswith(f"HF_HOME={tmp_path / home}: cannot be written")


@pytest.mark.parametrize("full", ["harness.model.hub_client.flush", "harness.model.hub.keep"])
def test_a_full_disk_is_one_line_of_the_root(
    server: Hub, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server.commit(NAME, files)
    monkeypatch.setattr(full, fails)
    with pytest.raises(InputError) as caught:
        hub.resolve(NAME, "", tmp_path / "root")
    assert str(caught.value).startswith(f"root={tmp_path / 'root'}: no space is left on the disk")
    assert not list(tmp_path.rglob(".tmp*"))


def with_tokenizer(files: dict[str, bytes], content: bytes) -> dict[str, bytes]:
    return {**files, "tokenizer.json": content}


WORDS = {"added_tokens": [], "model": {"type": "WordPiece", "vocab": {"a": 0}}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict, "has no tokenizer.json; give tokenizer=FILE"),
        (lambda f: {**f, "tokenizer.model": b"x"}, "has no tokenizer.json; give tokenizer=FILE"),
        (lambda f: with_tokenizer(f, b"{}"), "its tokenizer.json cannot be used (not a tokenizer.json)"),
        (lambda f: with_tokenizer(f, b"version https://lfs"), "its tokenizer.json cannot be used"),
        (lambda f: with_tokenizer(f, json.dumps(WORDS).encode()), "cannot be used (has no end-of-document token)"),
    ],
    ids=["none", "slow", "empty", "pointer", "words"],
)
def test_a_tokenizer_that_cannot_be_used_is_told_by_its_repository(
    server: Hub,
    files: dict[str, bytes],
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    told: str,
) -> None:
    server.commit(NAME, change(files))
    hub.resolve(NAME, "", tmp_path / "root")
    (point,) = collect(["start=hf", f"path={NAME}", "lr=0.01", f"root={tmp_path / 'root'}"])
    with pytest.raises(InputError, match=f"^path={NAME}: ") as caught:
        tokenizer_of(point.config)
    assert told in str(caught.value)


@pytest.mark.parametrize("change", [lambda d: d[:-5] + b"other", lambda d: d[:-500]], ids=["other bytes", "fewer"])
def test_weights_that_change_between_plan_and_run_are_not_taken(
    server: Hub, files: dict[str, bytes], tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    server.commit(NAME, files)
    found = hub.resolve(NAME, "", tmp_path / "root")
    before = sorted(found.folder.iterdir())
    whole = dict(server.stored)
    server.stored = {name: change(data) for name, data in whole.items()}
    with pytest.raises(InputError, match=r"another checksum|connection broke"):
        hub.fetch(found.folder)
    assert sorted(found.folder.iterdir()) == before
    server.stored = whole
    hub.fetch(found.folder)
