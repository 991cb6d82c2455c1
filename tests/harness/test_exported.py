"""A trained model leaves the store: its numbers, its tokenizer and its card are those of the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from harness.__main__ import main as harness_main
from harness.core.errors import InputError
from harness.corpora import tokenizer
from harness.export import main
from harness.model.build import build_scratch, load_checkpoint
from harness.model.tensors import load_model
from harness.plan.recorded_runs import find_run, program_of
from harness.plan.run_file import write_documents
from harness.program.program import Scratch
from harness.store.history import Row
from harness.store.store import Store
from tests.checkpoints import save_llama
from tests.hub_server import Hub
from tests.launched import launched
from tests.tiny import command, planned

BASE = 60  # where the base of a tiny run ends
TOKENS = torch.arange(3, 19)[None]  # a sequence of sixteen


@pytest.fixture(scope="module")
def root(texts: Path, undisturbed: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a recorded run."""
    root = tmp_path_factory.mktemp("export") / "runs"
    shutil.copytree(undisturbed.root, root)
    store = Store(root)
    write_documents(planned(texts, store, "name=one replay=0.25"), store)
    return root


def stored(root: Path, run: str, position: int | None = None) -> Any:
    """The model as the store has it, by the program alone."""
    store = Store(root)
    document = find_run(store, run)
    program = program_of(document)
    made = program.root
    model = build_scratch(made.shape, 7) if isinstance(made, Scratch) else load_checkpoint(document["config"]["path"])
    info = store.state(program.address(position))
    assert info is not None
    load_model(info.folder, model)
    return model.eval()


def loaded(folder: Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, **options)


def logits(model: Any, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(tokens).logits
    return found


@pytest.fixture(scope="module")
def exported(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "to" / "model"
    assert main(["one", str(folder), "--root", str(root)]) == 0
    return folder


def test_logits_are_those_of_the_store_bit_for_bit(root: Path, exported: Path) -> None:
    model = loaded(exported)
    assert model.dtype == torch.float32
    assert torch.equal(logits(model), logits(stored(root, "one")))


def test_transformers_generates_with_the_tokenizer_of_the_corpora(root: Path, exported: Path, texts: Path) -> None:
    words = AutoTokenizer.from_pretrained(exported)
    text = (texts / "downstream" / "000.txt").read_text()
    corpus = next((root / "corpora").glob("*/tokenizer.json"))
    assert words(text).input_ids == tokenizer.load(corpus).encode(text, add_special_tokens=False).ids
    assert words.decode(words(text).input_ids) == text
    assert (words.eos_token, words.eos_token_id, words.model_max_length) == ("<|endoftext|>", 0, 16)
    model = loaded(exported)
    made = model.generate(**words("a_b = ", return_tensors="pt"), max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert made.shape[1] <= len(words("a_b = ").input_ids) + 5
    assert model.generation_config.eos_token_id == 0


def test_an_exported_base_is_measured_as_it_was(root: Path, texts: Path, tmp_path: Path) -> None:
    """export, then start=hf: the same windows have the same losses at position 0."""
    folder = tmp_path / "base"
    assert main(["one", str(folder), "--at", str(BASE), "--root", str(root)]) == 0
    again = f"name=again start=hf path={folder} lr=0.01 scale.tokens=640"
    assert launched(texts, tmp_path / "runs", [again]).failures == []

    def losses(root: Path, run: str, position: int) -> dict[str, tuple[float, int]]:
        store = Store(root)
        rows = store.rows(find_run(store, run)["address"])
        return {row.corpus: (row.loss_sum, row.byte_count) for row in rows if row.position == position}

    before = losses(root, "one", BASE)
    assert len(before) == 2
    assert losses(tmp_path / "runs", "again", 0) == before


def test_the_card_says_what_was_trained_on_what(exported: Path, root: Path) -> None:
    text = (exported / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "text-generation"
    document = find_run(Store(root), "one")
    last = [row for row in Store(root).rows(document["address"]) if row.position == 100]
    for wanted in (
        "# one\n",
        "after step 100: 6.4k tokens",
        "0.75 downstream + 0.25 upstream",
        "0.01 to 0.00102",
        document["address"],
        f"torch {torch.__version__}",
        *(f"| {row.corpus} | {row.loss:.4f} | {row.bits_per_byte:.4f} |" for row in last),
    ):
        assert wanted in body
    for file in exported.iterdir():
        assert str(root).encode() not in file.read_bytes(), "a path of this machine left it"


def test_the_card_has_what_was_measured_later_of_the_base_too(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    document = find_run(store, "one")
    (record,) = (tmp_path / "runs" / "runs").glob("one-*/run.json")
    told = json.loads(record.read_text())
    told["measures"]["f" * 16] = {**next(iter(told["measures"].values())), "corpus": "late"}
    record.write_text(json.dumps(told))
    for position, address in ((BASE, document["base_address"]), (100, document["address"])):
        store.add_rows(address, [Row(position, position * 64, "late", 4, "f" * 16, position * 64.0, 64, 200)])
    assert main(["one", str(tmp_path / "model"), "--root", str(store.root)]) == 0
    told_losses = (tmp_path / "model" / "README.md").read_text().partition("## Losses")[2].splitlines()
    (line,) = (one for one in told_losses if one.startswith("| late | 100.0000 |"))
    assert "| 60.0000 | 4 of" in line


def test_a_first_phase_keeps_no_optimizer_state(exported: Path) -> None:
    lines = (exported / "README.md").read_text().splitlines()
    told = [line.split(" | ")[4] for line in lines if line.startswith(("| pre-training |", "| continual |"))]
    assert told[0] == "new"
    assert set(told[1:]) <= {"keep", "reset"}


def test_what_evaluation_harnesses_ask_for_is_there(exported: Path) -> None:
    """What lm-eval's HFLM and vLLM call before they score a text."""
    config = AutoConfig.from_pretrained(exported, revision="main", trust_remote_code=False)
    assert config.architectures == ["GPTNeoXForCausalLM"]
    assert config.max_position_embeddings == 16
    raw = json.loads((exported / "config.json").read_text())
    assert (raw["rotary_pct"], raw["rotary_emb_base"], raw["torch_dtype"]) == (0.25, 10000.0, "float32")
    words = AutoTokenizer.from_pretrained(exported, revision="main", trust_remote_code=False, use_fast=True)
    context, target = (words.encode(text, add_special_tokens=False) for text in ("a_b = ", "c(1, d)"))
    assert words.encode("a_b = ") == context, "no token is put before a text"
    whole = torch.tensor([context + target])
    scored = logits(loaded(exported, dtype="auto"), whole[:, :-1]).log_softmax(-1)[0, len(context) - 1 :]
    assert torch.isfinite(scored.gather(1, whole[0, len(context) :, None])).all()


@pytest.mark.slow
def test_lm_eval_scores_it(exported: Path) -> None:
    models = pytest.importorskip("lm_eval.models.huggingface", reason="lm-eval is not installed")
    instance = pytest.importorskip("lm_eval.api.instance")
    harness = models.HFLM(pretrained=str(exported), device="cpu", batch_size=2)
    assert harness.max_length == 16
    asked = instance.Instance("loglikelihood", {}, ("a_b =", " c(1, d)"), 0)
    ((score, _),) = harness.loglikelihood([asked], disable_tqdm=True)
    words = AutoTokenizer.from_pretrained(exported)
    ids = torch.tensor([words("a_b = c(1, d)").input_ids])
    start = len(words("a_b =").input_ids)
    table = logits(loaded(exported), ids[:, :-1]).log_softmax(-1)[0]
    assert score == pytest.approx(table.gather(1, ids[0, 1:, None])[start - 1 :].sum().item(), rel=1e-5)


@pytest.mark.parametrize(("dtype", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_is_what_torch_rounds_to(root: Path, tmp_path: Path, dtype: str, kind: torch.dtype) -> None:
    assert main(["one", str(tmp_path / "half"), "--dtype", dtype, f"root={root}"]) == 0
    whole = stored(root, "one").state_dict()
    written = load_file(tmp_path / "half" / "model.safetensors")
    whole["embed_out.weight"] = whole.pop("lm_head.weight")  # what a checkpoint of this model calls it
    assert written.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name].to(kind)) for name, tensor in written.items())
    assert loaded(tmp_path / "half").dtype == kind


def test_a_state_is_exported_by_its_address(root: Path, exported: Path, tmp_path: Path) -> None:
    address = find_run(Store(root), "one")["address"]
    assert main([address[:10], str(tmp_path / "model"), f"root={root}"]) == 0
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()


def test_an_export_that_is_there_is_not_made_again(
    root: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (exported / "rewarm.json").stat().st_ino
    assert main(["one", str(exported), f"root={root}", "--json"]) == 0
    told = capsys.readouterr()
    assert "already" in told.err
    document = json.loads(told.out)
    assert document["schema"] == "rewarm.export/1"
    assert document["position"] == 100
    assert set(document["files"]) == {path.name for path in exported.iterdir()}
    assert (exported / "rewarm.json").stat().st_ino == before
    with pytest.raises(InputError, match="not empty"):
        main(["one", str(exported), f"root={root}", "--dtype", "bf16"])
    (exported / "README.md").write_text("of mine")
    with pytest.raises(InputError, match="not empty"):
        main(["one", str(exported), f"root={root}"])


def cut(root: Path) -> None:
    """The end of the run was pruned."""
    store = Store(root)
    store.remove(find_run(store, "one")["address"])


def damage(root: Path) -> None:
    """A byte of the last state flipped."""
    weights = root / "states" / find_run(Store(root), "one")["address"] / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize(
    ("arguments", "change", "message"),
    [
        (["onne"], None, "run=onne: no such run in this store; did you mean one?"),
        (
            ["one", "--at", "61"],
            None,
            "--at=61: no state is stored there; give --at 60, the nearest (stored: 6, 60, 64,",
        ),
        (["one", "--at", "101"], None, "--at=101: the run has 100 steps"),
        (["one"], cut, "--at=100: no state is stored there; give --at 64"),
        (["one"], damage, "--at=100: no state is stored there; give --at 64"),
        (["one", "--push", "nobody"], None, "--push=nobody: not the name of a repository"),
        (["one", "--public"], None, "--public=true: nothing is pushed"),
        (["one", "--dtype", "fp8"], None, "--dtype=fp8: no such choice"),
        (["abcdefabcdef"], None, "run=abcdefabcdef: no such run in this store"),
        ([""], None, "run=: no such run in this store"),
        (["one", "--push", "a--b/c"], None, "--push=a--b/c: not the name of a repository"),
        (["one", "--push", "someone/-new"], None, "--push=someone/-new: not the name of a repository"),
        (["one", "--checkpoint", "here"], None, "--checkpoint=here: the run started from none"),
    ],
    ids=[
        "name",
        "pruned",
        "beyond",
        "end pruned",
        "damaged",
        "repository",
        "public",
        "type",
        "address",
        "nothing",
        "dashes",
        "a dash first",
        "checkpoint",
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    root: Path, tmp_path: Path, arguments: list[str], change: Callable[[Path], None] | None, message: str
) -> None:
    if change:
        root = Path(shutil.copytree(root, tmp_path / "runs"))
        change(root)
    run, *more = arguments
    with pytest.raises(InputError) as caught:
        main([run, str(tmp_path / "out" / "model"), f"root={root}", *more])
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_is_exported_into_a_store(root: Path) -> None:
    for folder in (root / "states" / "mine", root / "mine"):
        with pytest.raises(InputError, match=r"^DIR=.*: lies in the store .* name a folder outside of it"):
            main(["one", str(folder), "--root", str(root)])
        assert not folder.exists()


@pytest.fixture(scope="module")
def llama(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from a checkpoint with a padded vocabulary, keys of its own in its config, and a tokenizer's config."""
    folder = tmp_path_factory.mktemp("llama")
    save_llama(folder / "model", attention_dropout=0.1)
    config = json.loads((folder / "model" / "config.json").read_text())
    config |= {"_name_or_path": "/somewhere/else", "of_its_own": 3}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    (folder / "model" / "generation_config.json").write_text('{"temperature": 0.5, "do_sample": true}')
    read = (file.read_text() for file in sorted(texts.rglob("*.txt")))
    tokenizer.train(read, 300).save(str(folder / "model" / "tokenizer.json"))
    named = {"eos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(named))
    start = f"name=llama start=hf path={folder}/model lr=0.01 scale.tokens=640"
    assert launched(texts, folder / "runs", [start]).failures == []
    return folder


def test_a_run_from_a_checkpoint_keeps_its_config(llama: Path, tmp_path: Path) -> None:
    assert main(["llama", str(tmp_path / "model"), f"root={llama / 'runs'}"]) == 0
    assert torch.equal(logits(loaded(tmp_path / "model")), logits(stored(llama / "runs", "llama")))
    before, after = (json.loads((at / "config.json").read_text()) for at in (llama / "model", tmp_path / "model"))
    assert after.pop("torch_dtype") == "float32"
    assert {**before, "_name_or_path": None} == {**after, "_name_or_path": None}
    assert "_name_or_path" not in after
    assert after["vocab_size"] == 320
    assert loaded(tmp_path / "model").generation_config.temperature == 0.5
    assert AutoTokenizer.from_pretrained(tmp_path / "model").eos_token == "<|endoftext|>"
    assert "tokens since the root" in (tmp_path / "model" / "README.md").read_text()


def test_a_checkpoint_that_moved_is_found_by_its_content(llama: Path, tmp_path: Path) -> None:
    root = f"root={llama / 'runs'}"
    (llama / "model").rename(llama / "moved")
    try:
        with pytest.raises(InputError, match=r"it is gone; give --checkpoint FOLDER"):
            main(["llama", str(tmp_path / "model"), root])
        assert main(["llama", str(tmp_path / "model"), root, "--checkpoint", str(llama / "moved")]) == 0
    finally:
        (llama / "moved").rename(llama / "model")
    other = Path(shutil.copytree(llama / "model", tmp_path / "other"))
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    with pytest.raises(InputError, match=r"^--checkpoint=.*holds another checkpoint"):
        main(["llama", str(tmp_path / "second"), root, "--checkpoint", str(other)])


@pytest.mark.slow
def test_a_run_from_a_hub_names_its_repository(
    llama: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint is the one that the store fetched: the hub is asked nothing."""
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        commit = hub.commit("someone/tiny", llama / "model")
        start = f"name=tiny start=hf path=someone/tiny lr=0.01 scale.tokens=640 root={tmp_path / 'runs'}"
        assert harness_main(command(texts, start).split()) == 0
        asked = hub.count()
        assert main(["tiny", str(tmp_path / "model"), f"root={tmp_path / 'runs'}"]) == 0
        assert hub.count() == asked
    text = (tmp_path / "model" / "README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["base_model"] == "someone/tiny"
    assert f"from someone/tiny (commit `{commit[:12]}`)" in text
    assert torch.equal(logits(loaded(tmp_path / "model")), logits(stored(llama / "runs", "llama")))
