"""The checkpoint that a config starts from: a folder, a repository of a hub at a revision, or a published Pythia.

Beneath `harness.config.run`. No hub is asked here: what a store has resolved is read (`harness.model.checkpoints`), and
what it has not stands in the plan as not resolved. `harness.compose.resolving` asks before a plan is made.

    named_checkpoint(config)       # ("EleutherAI/pythia-410m", "step143000"), or None
    read_start(config)             # Start: content, place and sizes
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.config.fields import Config, as_number, flag, listing, number, whole
from harness.core.errors import InputError
from harness.core.files import user_path
from harness.model.checkpoints import COMMIT, kept, meant_repository, repository_of
from harness.model.pretrained import checkpoint_content, checkpoint_shape_facts, tokenizer_file
from harness.program.shape import ModelShape, non_embedding, parameters
from harness.texts.recipe import TokenizerRecipe, given_tokenizer

OWNER = "EleutherAI"
PYTHIA_STEPS = 143_000
PUBLISHED = (0, *(2**n for n in range(10)), *range(1000, PYTHIA_STEPS + 1, 1000))
"""Steps of a Pythia's pre-training that its repository has, each as the revision step<N> (2304.01373)."""
NOT_RESOLVED = "not resolved"


@dataclass(frozen=True)
class Origin:
    """Where on a hub a checkpoint comes from. It stands beside the address of a run, which is of content alone."""

    repository: str
    """OWNER/NAME."""
    revision: str
    """As it was asked for; empty: the hub's main."""
    commit: str
    """40 hex digits; empty: it was never resolved, since no hub was asked or answered."""
    folder: str
    """Of the store, below checkpoints/; empty as long as it is not resolved."""
    share: float | None = None
    """Of a published Pythia: the share of its pre-training that lies behind it."""

    @property
    def model(self) -> str:
        """What tables and figures call it."""
        name = self.repository.partition("/")[2]
        return name if self.share == 1 or not self.revision else f"{name}@{self.revision}"


@dataclass(frozen=True)
class Start:
    """A checkpoint as the root of a run."""

    content: str
    """Hash of config and weights; a text that begins with `NOT_RESOLVED` where it is not known."""
    path: str
    """Its folder, in which the weights are, or will be once they are fetched."""
    parameters: int
    """0: not resolved."""
    non_embedding: int
    vocab_size: int | None
    """None: not resolved."""
    positions: int | None
    """None: its config does not say."""
    origin: Origin | None
    """None: a folder of the user's."""


def from_checkpoint(config: Config) -> bool:
    """Does the run start from weights that others trained?"""
    return config["start"]["kind"] in ("hf", "pythia")


def named_checkpoint(config: Config) -> tuple[str, str] | None:
    """(repository, revision) that the config names on a hub; None: it names none."""
    if config["start"]["kind"] == "pythia":
        _published_rate(config, "peak")
        name = f"{config['model']['name']}{'-deduped' if flag(config, 'start.deduped') else ''}"
        return f"{OWNER}/{name}", f"step{_published_step(config)}"
    if config["start"]["kind"] != "hf":
        return None
    if config["path"] is None:
        raise InputError("path", "null", "start=hf needs a checkpoint", "give path=FOLDER, or path=OWNER/NAME of a hub")
    repository = repository_of(config["path"])
    meant = meant_repository(config["path"])
    if repository is None and meant and not user_path("path", config["path"]).exists():
        raise InputError("path", config["path"], "is no folder here, and no name of a repository", f"give {meant}")
    if repository is None and config["revision"] is not None:
        raise InputError("revision", config["revision"], "a folder has no revisions", "leave it out")
    return None if repository is None else (repository, _revision(config))


def moves(config: Config) -> bool:
    """Is the revision a name that was given, which may stand for another commit than when it was last resolved?"""
    given = config["start"]["kind"] == "hf" and config["revision"] is not None
    return given and not COMMIT.fullmatch(str(config["revision"]))


def read_start(config: Config) -> Start:
    """The checkpoint of a config that has one. Raises InputError."""
    named = named_checkpoint(config)
    if named is None:
        path = str(user_path("path", config["path"]))
        content, facts, origin = checkpoint_content(path), checkpoint_shape_facts(path), None
    else:
        repository, revision = named
        share = _published_step(config) / PYTHIA_STEPS if config["start"]["kind"] == "pythia" else None
        found = kept(repository, revision, _stores(config))
        if found is None:
            return _unresolved(config, Origin(repository, revision, "", "", share))
        path, content, facts = str(found.folder), found.content, found.facts
        origin = Origin(repository, revision, found.commit, found.folder.name, share)
    return Start(content, path, facts.parameters, facts.non_embedding, facts.vocab_size, facts.seq_len, origin)


def tokenizer_of(config: Config) -> str | TokenizerRecipe | None:
    """The tokenizer of the checkpoint; None: the run starts from none."""
    if not from_checkpoint(config):
        return None
    named = named_checkpoint(config)
    if named is None:
        return str(tokenizer_file(user_path("path", config["path"])))
    found = kept(*named, _stores(config))
    if found is None:
        return TokenizerRecipe(whole(config, "model.vocab_size", 1), file=f"{NOT_RESOLVED} {'@'.join(named)}")
    file, label = found.folder / "tokenizer.json", "@".join(part for part in named if part)
    if not file.is_file():
        raise InputError("path", label, "has no tokenizer.json", "give tokenizer=FILE")
    try:
        given_tokenizer(file)
    except InputError as error:
        raise InputError(
            "path", label, f"its tokenizer.json cannot be used ({error.why})", "give tokenizer=FILE"
        ) from None
    return str(file)


def with_published_rates(config: Config) -> Config:
    """With the peak and the floor that a Pythia of this size was pre-trained at as those of the base."""
    if "peak" in config["model"]:  # checked also where they play no part
        number(config, "model.peak", above=0)
        number(config, "model.floor", above=0, at_most=1)
        whole(config, "model.batch", 1)
    if config["start"]["kind"] != "pythia":
        return config
    number(config, "base.peak", above=0)  # the scale's, which plays no part either
    number(config, "base.min_ratio", at_least=0, at_most=1)
    rates = {"peak": _published_rate(config, "peak"), "min_ratio": _published_rate(config, "floor")}
    return {**config, "base": {**config["base"], **rates}}


def _published_rate(config: Config, key: str) -> float:
    name = str(config["model"]["name"])
    if key not in config["model"] or not name.startswith("pythia-"):
        remedy = "give model=pythia-410m, or start=hf path=OWNER/NAME for another checkpoint"
        raise InputError("model", name, "start=pythia continues a published Pythia", remedy)
    return number(config, f"model.{key}", above=0)


def _published_step(config: Config) -> int:
    """The published step nearest to the share `start.at`, the earlier of two."""
    share = as_number("start.at", config["start"]["at"], at_least=0, at_most=1)
    nearest: int = min(PUBLISHED, key=lambda step: (abs(step - share * PYTHIA_STEPS), step))
    return nearest


def _revision(config: Config) -> str:
    revision = config["revision"]
    if revision is None:
        return ""
    if isinstance(revision, bool | dict | list) or not str(revision).strip():
        raise InputError("revision", revision, "not the name of a revision", "give a branch, a tag or a commit")
    return str(revision)


def _stores(config: Config) -> list[Path]:
    parents = [user_path("parent_stores", path) for path in listing(config, "parent_stores")]
    return [store.absolute() for store in (user_path("root", config["root"]), *parents)]


def _unresolved(config: Config, origin: Origin) -> Start:
    """What can be said without a hub: of a Pythia its sizes, of others none."""
    content = f"{NOT_RESOLVED} {origin.repository}@{origin.revision}"
    if origin.share is None:
        return Start(content, content, 0, 0, None, None, origin)
    keys = ("layers", "hidden", "heads", "vocab_size", "seq_len")
    shape = ModelShape(**{key: whole(config, f"model.{key}", 1) for key in keys})
    return Start(content, content, parameters(shape), non_embedding(shape), shape.vocab_size, shape.seq_len, origin)
