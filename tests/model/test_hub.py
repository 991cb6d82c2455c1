"""Checkpoints of a hub: what is fetched when, what a name stands for, and every fault as one line."""

from __future__ import annotations

import json
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXForCausalLM

from harness.core.errors import InputError
from harness.formats import servers
from harness.model import hub
from harness.model.build import load_checkpoint
from harness.model.checkpoints import Resolved, kept, missing, repository_of
from harness.model.pretrained import checkpoint_content, checkpoint_shape_facts
from tests.checkpoints import save_neox
from tests.hub_server import Hub, entry_of

NAME = "someone/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a hub serves, as save_pretrained writes it, with a tokenizer beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    save_neox(
        folder,
        vocab_size=96,
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=128,
        max_position_embeddings=48,
    )
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        server.use(monkeypatch, tmp_path)
        monkeypatch.setattr(servers, "WAITS", (0.0, 0.0))
        monkeypatch.setattr("time.sleep", lambda _: None)  # the client has waits of its own
        yield server


def whole(root: Path) -> list[str]:
    """Everything below a root that is not finished: nothing should be."""
    return [str(path) for path in root.rglob(".tmp*")] + [str(path) for path in root.rglob("*.incomplete")]


def test_a_plan_fetches_config_tokenizer_and_headers_alone(server: Hub, folder: Path, tmp_path: Path) -> None:
    commit = server.commit(NAME, folder)
    found = hub.resolve(NAME, "", tmp_path / "root")
    assert found.commit == commit
    assert found.facts == checkpoint_shape_facts(folder)
    assert found.content == checkpoint_content(folder)
    assert sorted(missing(found.folder)) == ["model.safetensors"]
    assert (found.folder / "tokenizer.json").read_text() == "{}"
    weights = [request for request in server.requests if "storage" in request]
    assert weights == [f"GET /storage/model.safetensors/{weights[0].rpartition('/')[2]}"]  # its header, by a range
    assert server.bytes_sent["model.safetensors"] < (folder / "model.safetensors").stat().st_size


def test_fetched_weights_are_the_same_state_as_the_folders(server: Hub, folder: Path, tmp_path: Path) -> None:
    server.commit(NAME, folder)
    found = hub.resolve(NAME, "", tmp_path / "root")
    hub.fetch(found.folder)
    assert missing(found.folder) == {}
    assert checkpoint_content(found.folder) == found.content
    shutil.rmtree(tmp_path / "hf_home")  # a cache that is purged
    before = server.count()
    hub.fetch(found.folder)
    assert kept(NAME, "", [tmp_path / "root"]) == found
    assert server.count() == before
    load_checkpoint(found.folder)


def test_shards_and_half_precision(server: Hub, folder: Path, tmp_path: Path) -> None:
    model = GPTNeoXForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    server.commit(NAME, tmp_path / "sharded")
    found = hub.resolve(NAME, "", tmp_path / "root")
    assert found.content == checkpoint_content(tmp_path / "sharded")
    assert found.facts == checkpoint_shape_facts(folder)
    assert len(missing(found.folder)) > 1
    hub.fetch(found.folder)
    assert {parameter.dtype for parameter in load_checkpoint(found.folder).parameters()} == {torch.float32}


def test_a_name_is_pinned_until_it_is_asked_again(server: Hub, folder: Path, tmp_path: Path) -> None:
    first = server.commit(NAME, folder)
    root = tmp_path / "root"
    found = hub.resolve(NAME, "main", root)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    second = server.commit(NAME, {**files, "config.json": files["config.json"] + b"\n"})
    assert kept(NAME, "main", [root]) == found
    moved = hub.resolve_again(found, root)
    assert (found.commit, moved.commit) == (first, second)
    assert moved.content != found.content
    assert kept(NAME, "main", [root]) == moved
    assert hub.resolve_again(moved, root) is moved
    hub.fetch(found.folder)  # by its commit: what was pinned is still to be had
    assert checkpoint_content(found.folder) == found.content


def test_one_content_has_one_folder(server: Hub, folder: Path, tmp_path: Path) -> None:
    server.commit(NAME, folder)
    server.commit("other/copy", folder, revision="step3")
    one, other = hub.resolve(NAME, "", tmp_path / "root"), hub.resolve("other/copy", "step3", tmp_path / "root")
    assert one.folder == other.folder
    assert one.content == other.content


def test_small_weights_without_a_sum_of_the_hubs_are_fetched_to_be_known(
    server: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hub_server.LARGE", re.compile("^$"))
    entry_of.cache_clear()
    server.commit(NAME, folder)
    found = hub.resolve(NAME, "", tmp_path / "root")
    entry_of.cache_clear()
    assert found.content == checkpoint_content(folder)
    assert missing(found.folder) == {}


def test_a_root_that_cannot_be_is_one_line(server: Hub, folder: Path, tmp_path: Path) -> None:
    server.commit(NAME, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^root=.*cannot be written"):
        hub.resolve(NAME, "", tmp_path / "file" / "root")


def pickled(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place)
    tensors = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    torch.save(tensors, place / "pytorch_model.bin")
    return place


def test_pickled_weights_are_read_only_when_allowed_and_kept_as_tensors(
    server: Hub, folder: Path, tmp_path: Path
) -> None:
    server.commit(NAME, pickled(folder, tmp_path / "pickled"), revision="step1")
    root = tmp_path / "root"
    with pytest.raises(InputError, match=r"only pickled weights.*allow_pickled=true") as caught:
        hub.resolve(NAME, "step1", root)
    assert "\n" not in str(caught.value)
    assert server.count("storage") == 0
    with pytest.raises(servers.UnreachableError, match="only a run reads"):
        hub.resolve(NAME, "step1", root, allow_pickled=True, read=False)
    assert not root.exists()
    found = hub.resolve(NAME, "step1", root, allow_pickled=True)
    assert missing(found.folder) == {}
    assert found.content == checkpoint_content(found.folder)
    tensors = load_file(folder / "model.safetensors")
    again = load_file(found.folder / "model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    # The identity is that of the tensors, not of the pickle's bytes.
    torch.save(dict(reversed(tensors.items())), tmp_path / "pickled" / "pytorch_model.bin")
    server.commit(NAME, tmp_path / "pickled", revision="again")
    assert hub.resolve(NAME, "again", root, allow_pickled=True).content == found.content


class RanError(Exception):
    """Raised by a pickle that runs code."""


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("from tests.model.test_hub import RanError; raise RanError",))


def test_a_pickle_that_runs_code_is_refused(server: Hub, folder: Path, tmp_path: Path) -> None:
    place = pickled(folder, tmp_path / "evil")
    (place / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    server.commit(NAME, place)
    with pytest.raises(InputError, match="something else than tensors"):
        hub.resolve(NAME, "", tmp_path / "root", allow_pickled=True)
    assert not (tmp_path / "root").exists()


def edited(folder: Path, **changes: object) -> dict[str, bytes]:
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return {**files, "config.json": json.dumps(json.loads(files["config.json"]) | changes).encode()}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"auto_map": {"AutoModel": "x.Model"}}, "code of its own"),
        ({"quantization_config": {"bits": 4}}, "quantized"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers"),
        ({"vocab_size": None}, "no vocab_size"),
    ],
    ids=["remote code", "quantized", "layers", "vocabulary"],
)
def test_what_cannot_be_trained_is_refused_by_its_repository(
    server: Hub, folder: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    server.commit(NAME, edited(folder, **changes))
    with pytest.raises(InputError, match=f"^path={NAME}.*{told}"):
        hub.resolve(NAME, "", tmp_path / "root")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["config.json"], "neither model.safetensors nor"),
        (["model.safetensors"], "no config.json"),
        (["config.json", "model.safetensors.index.json"], "has no weight_map"),
    ],
    ids=["no weights", "no config", "empty index"],
)
def test_a_repository_without_a_model(server: Hub, folder: Path, tmp_path: Path, files: list[str], told: str) -> None:
    present = {file: (folder / file).read_bytes() if (folder / file).is_file() else b"{}" for file in files}
    server.commit(NAME, present)
    with pytest.raises(InputError, match=told):
        hub.resolve(NAME, "", tmp_path / "root")


NORM, DENSE = "gpt_neox.final_layer_norm.weight", "gpt_neox.layers.1.attention.dense.weight"


@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.update({NORM: torch.zeros(33)}), f"mismatched: {NORM} is [33] where the config makes"),
        (lambda tensors: tensors.pop(DENSE), f"missing: {DENSE}"),
        (lambda tensors: tensors.update({"head.bias": torch.zeros(3)}), "unexpected: head.bias"),
    ],
    ids=["shape", "missing", "extra"],
)
def test_tensors_that_are_not_the_configs_are_refused_before_any_is_fetched(
    server: Hub,
    folder: Path,
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], object],
    told: str,
    shards: bool,
) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "changed"))
    tensors = load_file(place / "model.safetensors")
    change(tensors)
    names = sorted(tensors)
    files = {"model.safetensors": names}
    if shards:
        (place / "model.safetensors").unlink()
        files = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
        index = {"weight_map": {name: file for file, held in files.items() for name in held}}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
    for file, held in files.items():
        save_file({name: tensors[name] for name in held}, place / file, metadata={"format": "pt"})
    server.commit(NAME, place)
    with pytest.raises(InputError) as caught:
        hub.resolve(NAME, "", tmp_path / "root")
    assert str(caught.value).startswith(f"path={NAME}: its weights are not those of its config (")
    assert told in str(caught.value)
    assert not (tmp_path / "root").exists()
    assert not list((tmp_path / "hf_home").rglob("*.safetensors")), "headers alone were read"


def test_weights_that_are_no_safetensors_are_told_by_their_header(server: Hub, folder: Path, tmp_path: Path) -> None:
    files = edited(folder)
    server.commit(NAME, {**files, "model.safetensors": files["model.safetensors"][:-7]})
    with pytest.raises(InputError, match="bytes where its header says"):
        hub.resolve(NAME, "", tmp_path / "root")


# --- faults ----------------------------------------------------------------------------------------------------------

SECRET = "hf_verysecret"


@pytest.mark.parametrize("name", [NAME, "some/closed"])
@pytest.mark.parametrize("token", [None, SECRET])
def test_a_wrong_name_and_a_closed_one_name_both_and_the_variable(
    server: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, token: str | None
) -> None:
    server.commit("some/closed", folder, token="hf_other")
    server.use(monkeypatch, tmp_path, token=token)
    with pytest.raises(InputError) as caught:
        hub.resolve(name, "", tmp_path / "root")
    text = str(caught.value)
    assert "no such repository, or a closed one" in text
    assert ("the token that is set may not read it" if token else "set HF_TOKEN") in text
    assert SECRET not in text
    assert "\n" not in text
    assert not (tmp_path / "root").exists()


def test_a_closed_repository_opens_with_its_token_which_goes_nowhere(
    server: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.commit(NAME, folder, token=SECRET)
    server.use(monkeypatch, tmp_path, token=SECRET)
    found = hub.resolve(NAME, "", tmp_path / "root")
    hub.fetch(found.folder)
    assert SECRET not in "".join(capfd.readouterr())
    written = [path for place in ("root", "hf_home") for path in (tmp_path / place).rglob("*") if path.is_file()]
    assert len(written) > 3
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert {host.startswith("localhost") for host, given in server.tokens_seen if SECRET in given} == {False}


def test_a_revision_that_is_not_there_names_those_alike(server: Hub, folder: Path, tmp_path: Path) -> None:
    server.commit(NAME, folder, revision="main")
    server.commit(NAME, folder, revision="step3000")
    with pytest.raises(InputError, match=r"^path=someone/tiny@step300: .*no such revision; did you mean step3000\?"):
        hub.resolve(NAME, "step300", tmp_path / "root")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again_and_then_it_is_one_line(
    server: Hub, folder: Path, tmp_path: Path, status: int
) -> None:
    server.commit(NAME, folder)
    server.fault("/api/models", status, times=2)
    hub.resolve(NAME, "", tmp_path / "root")
    server.fault("/api/models", status, times=9)
    with pytest.raises(InputError, match=f"answered {status} when .* 3 times; try again later") as caught:
        hub.resolve(NAME, "main", tmp_path / "root")
    assert "\n" not in str(caught.value)


def resolved(server: Hub, folder: Path, root: Path) -> Resolved:
    server.commit(NAME, folder)
    return hub.resolve(NAME, "", root)


@pytest.mark.parametrize("fault", [429, 503, "cut"])
def test_a_download_survives_what_passes(server: Hub, folder: Path, tmp_path: Path, fault: int | str) -> None:
    found = resolved(server, folder, tmp_path / "root")
    server.fault("GET /storage", fault, times=2)
    hub.fetch(found.folder)
    assert checkpoint_content(found.folder) == found.content


@pytest.mark.parametrize(
    ("fault", "told"),
    [(503, "answered 503"), ("cut", "connection broke"), ("wrong", "another checksum"), (404, "hub has lost")],
)
def test_what_lasts_is_one_line_and_the_rerun_goes_on(
    server: Hub, folder: Path, tmp_path: Path, fault: int | str, told: str
) -> None:
    found = resolved(server, folder, tmp_path / "root")
    server.fault("GET /storage" if fault != 404 else "HEAD .*safetensors", fault, times=30)
    with pytest.raises(InputError, match=told) as caught:
        hub.fetch(found.folder)
    assert "\n" not in str(caught.value)
    assert sorted(missing(found.folder)) == ["model.safetensors"]
    assert not whole(tmp_path / "root")
    server.calm()
    hub.fetch(found.folder)
    assert checkpoint_content(found.folder) == found.content


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_nothing_that_stays(server: Hub, folder: Path, tmp_path: Path) -> None:
    server.commit(NAME, folder)
    script = (
        "import sys; from pathlib import Path; from harness.model import hub\n"
        f"print('ready', flush=True); hub.fetch(hub.resolve({NAME!r}, '', Path(sys.argv[1])).folder)\n"
    )

    def start(root: Path) -> tuple[subprocess.Popen[bytes], float]:
        one = subprocess.Popen([sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE)
        assert one.stdout is not None
        one.stdout.readline()
        return one, time.perf_counter()

    server.delay = 0.05
    undisturbed, since = start(tmp_path / "undisturbed")
    assert undisturbed.wait(60) == 0
    duration = time.perf_counter() - since
    generator, died = random.Random(0), 0
    for attempt in range(10):
        root = tmp_path / str(attempt)
        one, since = start(root)
        time.sleep(max(since + generator.random() * duration - time.perf_counter(), 0))
        one.kill()
        died += one.wait() != 0
        for place in root.glob("checkpoints/*/checkpoint.json"):
            there = place.parent / "model.safetensors"
            assert not there.exists() or there.read_bytes() == (folder / "model.safetensors").read_bytes()
        found = hub.resolve(NAME, "", root)
        hub.fetch(found.folder)
        assert checkpoint_content(found.folder) == found.content
    assert died > 2
    assert not whole(tmp_path)


def test_a_commit_that_is_gone_says_how_to_go_on(server: Hub, folder: Path, tmp_path: Path) -> None:
    found = resolved(server, folder, tmp_path / "root")
    del server.repositories["model", NAME].commits[found.commit]
    with pytest.raises(InputError, match="gone from the hub: give revision="):
        hub.fetch(found.folder)


def test_without_a_network_what_was_resolved_serves(
    server: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolved(server, folder, tmp_path / "root")
    server.go_offline(monkeypatch)
    before = server.count()
    assert kept(NAME, "", [tmp_path / "other", tmp_path / "root"]) == found
    with pytest.raises(servers.UnreachableError, match="HF_HUB_OFFLINE is set"):
        hub.resolve(NAME, "step3", tmp_path / "root")
    with pytest.raises(servers.UnreachableError, match="HF_HUB_OFFLINE is set"):
        hub.fetch(found.folder)
    assert server.count() == before


def test_no_hub_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Hub() as gone:
        gone.use(monkeypatch, tmp_path)
    with pytest.raises(servers.UnreachableError, match=r"no hub answers \(ConnectError\); check the network"):
        hub.resolve(NAME, "", tmp_path / "root")


def test_a_parents_resolution_is_adopted_without_its_weights(server: Hub, folder: Path, tmp_path: Path) -> None:
    found = resolved(server, folder, tmp_path / "parent")
    own = hub.adopt(found, tmp_path / "root")
    assert kept(NAME, "", [tmp_path / "root"]) == own
    hub.fetch(own.folder)
    assert kept(NAME, "", [tmp_path / "parent", tmp_path / "root"]) == own  # whole, so it comes first
    assert sorted(missing(found.folder)) == ["model.safetensors"]


def test_a_damaged_pin_is_named(server: Hub, folder: Path, tmp_path: Path) -> None:
    resolved(server, folder, tmp_path / "root")
    (pin,) = (tmp_path / "root" / "checkpoints" / "resolved").iterdir()
    pin.write_text("{")
    with pytest.raises(InputError, match=f"{pin.name}.*damaged.*remove"):
        kept(NAME, "", [tmp_path / "root"])


@pytest.mark.parametrize("path", ["gpt2", "a/b/c", "../x", "./a/b", "/a/b", "a/", "~/x", "a b/c"])
def test_what_is_no_name_of_a_repository(path: str) -> None:
    assert repository_of(path) is None


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert repository_of("someone/tiny") == "someone/tiny"
    (tmp_path / "someone" / "tiny").mkdir(parents=True)
    assert repository_of("someone/tiny") is None


def test_tied_tensors_of_a_pickle_are_written_apart(server: Hub, folder: Path, tmp_path: Path) -> None:
    place = pickled(folder, tmp_path / "tied")
    tensors = load_file(folder / "model.safetensors")
    tensors["embed_out.weight"] = tensors["gpt_neox.embed_in.weight"]
    torch.save(tensors, place / "pytorch_model.bin")
    server.commit(NAME, place)
    found = hub.resolve(NAME, "", tmp_path / "root", allow_pickled=True)
    held = load_file(found.folder / "model.safetensors")
    assert torch.equal(held["embed_out.weight"], held["gpt_neox.embed_in.weight"])
