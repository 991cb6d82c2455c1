"""The loopback hub, asked by the real clients: what other tests rely on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub as client
import pytest
from huggingface_hub import errors

from tests.hub_server import Hub

WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


def test_a_file_and_its_facts(hub: Hub) -> None:
    commit = hub.commit("some/model", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    other = hub.commit("some/model", {"config.json": b"{ }"}, revision="step3")
    api = client.HfApi()
    assert api.model_info("some/model").sha == commit
    assert api.model_info("some/model", revision="step3").sha == other
    (_, weights) = sorted(api.list_repo_tree("some/model"), key=lambda entry: entry.path)
    assert isinstance(weights, client.hf_api.RepoFile)
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    file = client.hf_hub_download("some/model", "model.safetensors", revision=commit)
    assert Path(file).read_bytes() == WEIGHTS
    assert Path(client.hf_hub_download("some/model", "config.json", revision="step3")).read_bytes() == b"{ }"
    with pytest.raises(errors.RevisionNotFoundError):
        api.model_info("some/model", revision="step4")
    with pytest.raises(errors.EntryNotFoundError):
        client.hf_hub_download("some/model", "none.json")


def test_a_cut_download_goes_on_where_it_was_cut(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.commit("some/model", {"model.safetensors": WEIGHTS})
    hub.fault("GET /storage", "cut")
    assert Path(client.hf_hub_download("some/model", "model.safetensors")).read_bytes() == WEIGHTS
    assert hub.count("GET /storage") == 2


def test_who_lacks_the_token_is_told_what_a_wrong_name_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("some/closed", {"model.safetensors": WEIGHTS}, token="hf_secret")
    told = []
    for name in ("some/closed", "some/none"):
        with pytest.raises(errors.HfHubHTTPError) as caught:
            client.HfApi().model_info(name)
        told.append((caught.value.response.status_code, caught.value.server_message))
    assert told[0] == told[1] == (401, "Invalid username or password.")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert Path(client.hf_hub_download("some/closed", "model.safetensors")).read_bytes() == WEIGHTS
    assert {host.startswith("localhost") for host, given in hub.tokens_seen if given == "Bearer hf_secret"} == {False}


def test_datasets_by_url(hub: Hub) -> None:
    files = {f"train/chunk{n}/part.jsonl.zst": f"{n}".encode() * 100 for n in (1, 2)}
    hub.commit("some/texts", {**files, "README.md": b"texts"}, kind="dataset")
    system = client.HfFileSystem()
    found = system.glob("hf://datasets/some/texts@main/train/*/*.jsonl.zst")
    assert [path.rpartition("texts@main/")[2] for path in found] == sorted(files)
    with system.open("hf://datasets/some/texts/train/chunk2/part.jsonl.zst", "rb") as file:
        file.seek(50)
        assert file.read(3) == b"222"


def test_a_listing_of_several_pages(hub: Hub) -> None:
    hub.commit("some/texts", {f"part/{n:05}.txt": b"" for n in range(2500)}, kind="dataset")
    files = client.HfApi().list_repo_tree("some/texts", "part", repo_type="dataset", recursive=True)
    assert [file.path for file in files] == [f"part/{n:05}.txt" for n in range(2500)]


def test_an_upload_needs_its_token_and_is_read_back(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("---\nlicense: mit\n---\nA model.")
    (tmp_path / "out" / "model.safetensors").write_bytes(WEIGHTS)
    with pytest.raises(errors.HfHubHTTPError, match="401"):
        client.HfApi(token="hf_other").create_repo("some/new")
    api = client.HfApi(token=hub.write_token)
    api.create_repo("some/new", exist_ok=True)
    commit = api.upload_folder(repo_id="some/new", folder_path=tmp_path / "out").oid
    files = hub.repositories["model", "some/new"].commits[commit]
    assert files["model.safetensors"] == WEIGHTS
    assert files["README.md"].endswith(b"A model.")
    api.create_repo("some/new", exist_ok=True)  # a second time


@pytest.mark.parametrize("fault", [404, 429, 503])
def test_a_fault_strikes_as_often_as_it_is_told_to(hub: Hub, fault: int) -> None:
    hub.commit("some/model", {"config.json": b"{}"})
    hub.fault("GET /api/models/some/model", fault, times=1)
    with pytest.raises(errors.HfHubHTTPError, match=str(fault)):
        client.HfApi().model_info("some/model")
    assert client.HfApi().model_info("some/model").sha
