"""The card of an exported model: README.md, which says what was trained on what.

Without torch, and without a path of the machine: a card is for others. `harness.export` puts it beside the weights.

    text = card(Told(document, meta, rows, program, names, ...))
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from harness.core.units import count
from harness.program.program import Program, Scratch, phase_entries
from harness.store.history import Row

USE = """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH")
model = AutoModelForCausalLM.from_pretrained("PATH")
print(tokenizer.decode(model.generate(**tokenizer("Once", return_tensors="pt"), max_new_tokens=20)[0]))"""


@dataclass(frozen=True)
class Told:
    """What a card is made of."""

    name: str
    """What the run is called."""
    model: str
    """What the model is called."""
    parameters: int
    """All of them."""
    program: Program
    """From the root to the state."""
    steps: int
    """Those of the whole run."""
    base_position: int | None
    """Where continual pre-training starts; None from scratch."""
    names: Mapping[str, str]
    """What the run calls each corpus, by recipe key."""
    sources: Mapping[str, str]
    """What each corpus is made of, by recipe key."""
    meta: Mapping[str, Any]
    """state.json."""
    rows: Sequence[Row]
    """The measurements, of the windows that the run asked for."""
    dtype: str
    """How the weights are written."""
    end_of_document: str
    """The token behind each document."""
    origin: Mapping[str, Any] | None = None
    """The hub's repository, revision and commit that it started from."""
    datasets: Sequence[str] = field(default=())
    """OWNER/NAME of the hub's datasets that it was trained on."""


def card(told: Told) -> str:
    """The text of README.md."""
    return "\n\n".join([_front(told), *_training(told), *_data(told), *_losses(told), *_use(told)]) + "\n"


def losses_at(rows: Sequence[Row], position: int) -> tuple[int | None, dict[str, Row]]:
    """(the last measured position up to `position`, its row by corpus); of several sets of windows the largest."""
    last = max((row.position for row in rows if row.position <= position), default=None)
    found: dict[str, Row] = {}
    for row in rows:
        if row.position == last and (row.corpus not in found or row.windows > found[row.corpus].windows):
            found[row.corpus] = row
    return last, found


def described(source: Mapping[str, Any]) -> str:
    """What the source of a recipe is, from its JSON, without a path."""
    kind = source.get("kind")
    if kind == "EmbeddedSource":
        return f"`{source['corpus']}`: text of installed Python packages ({source['sample']:.4g} of the files)"
    if kind == "LocalSource":
        return f"{_files(len(source['files']))} of one's own"
    if kind == "FilesSource":
        shares = {part["name"]: part.get("weight") for part in source.get("parts", [])}
        parts = [name if share is None else f"{name} ({share:.4g})" for name, share in shares.items()]
        mixed = f", in parts: {', '.join(parts)}" if len(parts) > 1 else ""
        budget = f", at most {count(source['tokens'])} tokens" if source.get("tokens") else ""
        return f"listed files (digest `{source['train']['digest'][:12]}`){mixed}{budget}"
    if kind == "MegatronSource":
        digest = source["train"]["digest"][:12]
        return f"sequences of {source.get('sequence', 2049):,} tokens in an order of their own (digest `{digest}`)"
    return f"tokens of {kind}"


def _files(number: int) -> str:
    return "one file" if number == 1 else f"{number} files"


def _front(told: Told) -> str:
    """The block of YAML that a hub reads."""
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = ["continual-pre-training", "rewarm"]
    if told.origin:
        front["base_model"] = told.origin["repository"]
    if told.datasets:
        front["datasets"] = sorted(told.datasets)
    return f"---\n{yaml.safe_dump(front, sort_keys=False).strip()}\n---"


def _training(told: Told) -> list[str]:
    program, base = told.program, told.base_position
    start = "random weights" if isinstance(program.root, Scratch) else _checkpoint(told)
    if isinstance(program.root, Scratch) and base:
        start += f", which {count(program.tokens(min(base, program.steps)))} tokens of pre-training made a base"
    stage = "" if program.steps == told.steps else f" of a run of {told.steps:,}"
    text = (
        f"A causal language model of {count(told.parameters)} parameters ({told.model}), trained with"
        f" [Rewarm](#how-it-was-made) from {start}. These are the weights after step {program.steps:,}{stage}:"
        f" {count(program.tokens(program.steps))} tokens since the root."
    )
    lines = ["| | steps | tokens | learning rate | optimizer state | data |", "|---|---|---|---|---|---|"]
    for entry in phase_entries(program, told.names, base):
        data = " + ".join(f"{share:.4g} {_cell(name)}" for name, share in entry["mixture"].items())
        lines.append(
            f"| {'pre-training' if entry['base'] else 'continual' if base is not None else 'training'}"
            f" | {entry['steps']:,} | {count(entry['tokens'])} | {entry['lr_first']:.3g} to {entry['lr_last']:.3g}"
            f" ({entry['shape']}) | {entry['optimizer_state'] if entry['start'] else 'new'} | {data} |"
        )
    phase = program.phases[-1]
    adam = phase.optimizer
    geometry = (
        f"AdamW ({adam.beta1:g}, {adam.beta2:g}), eps {adam.eps:g}, weight decay {adam.weight_decay:g}, clipped at"
        f" {adam.clip:g}; batches of {phase.batch:,} sequences of {phase.seq_len:,} tokens, {phase.precision}."
    )
    return [f"# {told.name}", text, "## Training", "\n".join(lines), geometry]


def _checkpoint(told: Told) -> str:
    origin = told.origin
    if origin is None:
        return f"the checkpoint {told.model}"
    at = f" at `{origin['revision']}`" if origin["revision"] else ""
    return f"{origin['repository']}{at} (commit `{origin['commit'][:12]}`)"


def _data(told: Told) -> list[str]:
    lines = ["| corpus | read | epochs | made of | recipe |", "|---|---|---|---|---|"]
    for key, drawn in sorted(told.meta["drawn"].items(), key=lambda pair: told.names.get(pair[0], pair[0])):
        lines.append(
            f"| {_cell(told.names.get(key, key[:12]))} | {drawn['sequences']:,} sequences | {drawn['epochs']:.3g}"
            f" | {_cell(told.sources.get(key, 'not known here'))} | `{key[:12]}` |"
        )
    end = f"Each document ends with `{told.end_of_document}`; nothing stands before it."
    return ["## Data", "\n".join(lines), end]


def _losses(told: Told) -> list[str]:
    position, last = losses_at(told.rows, told.program.steps)
    if position is None:
        return []
    base = told.base_position
    shown = {row.windows_hash for row in last.values()}
    own = [row for row in told.rows if row.windows_hash in shown]
    before = losses_at(own, base)[1] if base is not None and base < position else {}
    lines = ["| corpus | nats per token | bits per byte | base, nats per token | windows |", "|---|---|---|---|---|"]
    for corpus, row in sorted(last.items()):
        same = corpus in before and before[corpus].windows_hash == row.windows_hash
        at_base = f"{before[corpus].loss:.4f}" if same else "-"
        lines.append(
            f"| {_cell(corpus)} | {row.loss:.4f} | {row.bits_per_byte:.4f} | {at_base} | {row.windows} of"
            f" {told.program.phases[-1].seq_len} tokens |"
        )
    where = "" if position == told.program.steps else f" Measured at step {position:,}."
    return ["## Losses", f"On held-out windows of the corpora.{where}", "\n".join(lines)]


def _use(told: Told) -> list[str]:
    meta = told.meta
    versions = ", ".join(f"{name} {version}" for name, version in meta.get("versions", {}).items())
    facts = (
        f"State `{meta['address']}`, numerics {meta.get('numerics')}, written as {told.dtype}. Trained on"
        f" {meta.get('device', 'an unknown machine')} by {meta.get('ranks', 1)} rank(s) with {versions or '?'};"
        f" exported with Python {platform.python_version()}. `rewarm.json` holds the whole program."
    )
    licence = "No licence is stated here: what it started from and what it was trained on have theirs."
    return ["## Use", f"```python\n{USE}\n```", "## How it was made", facts, licence]


def _cell(text: str) -> str:
    """As it stands in a table."""
    return text.replace("|", "\\|")


def hub_datasets(urls: Sequence[str]) -> list[str]:
    """OWNER/NAME of every dataset of a hub among URLs."""
    hub = "hf://datasets/"
    found = {"/".join(url.removeprefix(hub).split("/")[:2]).partition("@")[0] for url in urls if url.startswith(hub)}
    return sorted(found)
