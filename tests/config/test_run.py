"""What a user can give wrong, and what the knobs mean in steps."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.cli import store_of
from harness.compose.compose import collect, sweep_points
from harness.config.compile import compile_run
from harness.config.fields import choice
from harness.config.run import read_run
from harness.core.errors import InputError
from harness.plan.plan import compile_points
from tests.composed import run_of

BAD = {
    "replay=1.5": "replay=1.5: above 1",
    "replay=-0.1": "replay=-0.1: below 0",
    "warmup=-1": "warmup=-1: below 0",
    "warmup=1.5": "warmup=1.5: above 1",
    "warmup_tokens=2x": "warmup_tokens=2x: longer than the horizon",
    "warmup=1e-6": "warmup=1e-06: a non-zero share of zero steps",
    "lr=0": "lr=0: not above 0",
    "lr=nan": "lr=nan: not a finite number",
    "lr=inf": "lr=inf: not a finite number",
    "lr=big": "lr=big: not a number",
    "peak=-1": "peak=-1: not above 0",
    "tokens=100": "tokens=100: 100 tokens, fewer than one batch of 512",
    "tokens=0x": "tokens=0x: not above 0",
    "tokens=x": "tokens=x: not a number",
    "seed=-1": "seed=-1: below 0",
    "seed=0.5": "seed=0.5: not a whole number",
    "batch.seq_len=4096": "batch.seq_len=4096: the model has 128 positions",
    "precision=fp16": "precision=fp16: pure fp16",
    "optimizer_state=drop": "optimizer_state=drop: no such choice",
    "start.at=0": "start.at=0: not above 0",
    "start.at=1e-9": "start.at=1e-09: no step of the base's",
    "evaluate.windows=0": "evaluate.windows=0: below 1",
    "evaluate.final_windows=63": "evaluate.final_windows=63: fewer than evaluate.windows=64",
    "evaluate.windows=2000": "evaluate.final_windows=1024: fewer than evaluate.windows=2000, on which every position "
    "is measured; give evaluate.final_windows=2000 or more, or null for no further ones at the ends",
    "evaluate.final_windows=many": "evaluate.final_windows=many: not a number",
    "evaluate.sets=[latin]": "latin",
    "do=fly": "do=fly: no such choice",
    "stages=3": "stages=3: not a list of stages",
    "stages=[{tokens:1x}]": "has no mixture",
    "stages=[{mixture:{upstream:0.5},tokens:1x}]": "sums to 0.5",
    "stages=[{mixture:{latin:1},tokens:1x}]": "latin",
    "stages=[{mixture:{upstream:1},tokens:1x,warmpu:0}]": "stages[0].warmpu=0: unknown key; did you mean warmup?",
    "+shift.upstream=latin": "latin",
    "lrr=1": "lrr=1: unknown key; did you mean lr?",
    "learning_rate=3e-4": "learning_rate=0.0003: unknown key; did you mean lr?",
    "seq_len=64": "seq_len=64: unknown key; did you mean model.seq_len or batch.seq_len?",
    "peak=1,,2": "peak=1,,2: nothing beside a comma; give peak=1,2",
    "replya=0.1": "replya=0.1: unknown key; did you mean replay?",
    "schedule.warmpu=0.1": "did you mean warmup?",
    "schedule=cosin": "schedule=cosin: no such choice; known: constant, cosine",
    "scale=huge": "scale=huge: no such choice",
    "hydra/launcher=joblib": "launch=local",
    "hydra/sweeper=optuna": "hydra/sweeper=optuna",
    "lr=1,2": "lr=1,2: 2 values; add -m",
    "optimizer.betas=3": "optimizer.betas=3: not a list",
    "optimizer.betas=[0.9]": "not two numbers",
    "optimizer.betas=[1.5,2]": "optimizer.betas=1.5: above 1",
    "model.heads=0": "model.heads=0: below 1",
    "model.hidden=x": "model.hidden=x: not a number",
    "model.vocab_size=null": "model.vocab_size=None: not a number",
    "evaluate.sets=cpp": "evaluate.sets=cpp: not a list; in a shell: 'evaluate.sets=[cpp]'",
    "evaluate.sets=more=./texts": "evaluate.sets=more=./texts: not a list; in a shell: 'evaluate.sets=[more=./texts]'",
    "evaluate.sets=./texts": "in a shell: 'evaluate.sets=[texts=./texts]'",
    "evaluate.sets=[more=./nowhere]": "evaluate.sets=nowhere: no such",
    "upstream=old=./nowhere": "upstream=nowhere: no such",
    "evaluate.early=1000": "evaluate.early=1000: not a list",
    "scale.flop_rate=0": "scale.flop_rate=0: not above 0",
    "name=a/b": "name=a/b: it becomes the name of a folder",
    "path=folder": "path=folder: only start=hf reads a checkpoint",
    "upstream=texts": "upstream=texts: no such corpus as texts; known: cpp, docs,",
    "anneal_tokens=1x": "anneal_tokens=1x: cosine has no anneal",
    "start.kind=foo": "start.kind=foo: no such choice",
    "stages=[{mixture:docs,tokens:1x}]": "stages[0].mixture=docs: not a mapping",
    "stages=[{mixture:{docs:1},tokens:null}]": "stages[0].tokens=None: not a number",
    "stages=[{mixture:{docs:1},tokens:1x,restart:null}]": "restart=None: not a list",
    "validation=0": "validation=0: not above 0",
    "validation=1": "validation=1: above 0.9",
    "seed=1e30": "seed=1e+30: above 9e+15: larger whole numbers",
    "batch=8": "batch=8: it has keys: sequences, seq_len; give batch.sequences=8",
    "base=3e6": "give base.tokens=3e+06",
    "scale=1e6": "known: mini, paper, small; or give scale.tokens=1e+06",
    "evaluate=3": "known: dense, grid; or give evaluate.windows=3",
    "optimizer=null": "optimizer=None: no such choice; known: adamw",
    "corpus=0.5": "it has keys: sample, vocab_size",
    "lr={a:1}": "lr={'a': 1}: a mapping where one value is due",
    "lr.x=1": "a mapping where one value is due",
    "seed=[0,1]": "a list where one value is due; to run each, put seed into grids",
    "batch={sequencs:8}": "did you mean batch.sequences?",
    "+foo.bar=1": "foo={'bar': 1}: unknown key",
    "~model": "argument=~model: no key can be taken away",
    "~lr": "argument=~lr: no key can be taken away",
    "lr@base=1": "a package cannot be chosen",
    "shift=../model/mini": "shift=../model/mini: no such choice",
    "lr": "argument=lr: not key=value; give lr=...",
    "=1": "argument==1: not key=value",
    "l r=1": "argument=l r=1: not key=value",
    "lr=[1": "[ is not closed",
    "lr=\n": "lr=",
    "name=ü(": "name=ü(: 'ü' has a meaning of its own in Hydra's grammar",
    "model.tags=[docs, a=./b]": "quote the item, in a shell: 'model.tags=[docs,\"a=./b\"]'",
    "lr=" + "[" * 2000: "is not closed",
    "lr=${nope}": "Interpolation key 'nope' not found",
    "lr=${lr}": "lr=",
    "shift.kind=local": "shift.kind=local: it comes with the choice of shift; give shift=local",
    "schedule.name=wsd": "give schedule=wsd",
    "launch.workrs=2": "did you mean launch.workers?",
    "max_points=0": "max_points=0: below 1",
    "hydra.run.dir=here": "hydra.run.dir=here: the program sets Hydra's own settings",
    "++hydra.output_subdir=here": "results go to root=FOLDER",
    "hydra.job.chdir=true": "go to the folder before you call",
    "hydra.searchpath=[file:///tmp]": "put your own choices into the folder of -cd",
    "hydra.mode=MULTIRUN": "the program sets Hydra's own settings",
    "--config-path=/tmp": "add a folder of yours: -cd FOLDER",
    "--experimental-rerun=file": "experimental-rerun=file: unknown key",
    "-x": "argument=-x: no such flag",
    "-cn": "argument=-cn: nothing follows it",
    "-cd=nowhere": "nowhere: no such folder",
    "-cn=demoo": "did you mean demo?",
    "--cfg=everything": "give one of job, hydra, all",
}


def read_all(overrides: Sequence[str]) -> None:
    (point,) = collect(overrides)
    choice(point.config, "do", ("run", "plan"))
    compile_run(read_run(point.config))


@pytest.mark.parametrize("override", BAD)
def test_bad_input_is_refused_by_name(override: str) -> None:
    with pytest.raises(InputError) as caught:
        read_all([override])
    message = str(caught.value)
    assert BAD[override] in message
    assert "\n" not in message
    assert len(message) < 450


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("lr=1e-3", "peak=2"), "lr=0.001: peak=2 is given too"),
        (("shift=docs_to_docs", "replay=0.1"), "upstream and downstream are both docs"),
        (("shift=local",), "upstream=null: shift=local needs"),
        (("shift=local", "upstream=/nowhere", "downstream=/nowhere"), "/nowhere"),
        (("start=hf",), "path=null: start=hf needs a checkpoint"),
        (("schedule=infinite_cosine", "min_ratio=0"), "never reaches 0"),
        (("schedule=infinite_cosine", "tokens=0.011x", "anneal_tokens=0.01x"), "warm-up"),
        (("shift=docs_to_docs", "order=7"), "goes on in the base's order 0"),
        (("stages=[{mixture:{upstream:1},tokens:1x}]", "replay=0.1"), "stages state their own mixtures"),
        (("base.schedule=cosin",), "base.schedule=cosin: no such schedule"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_all(overrides)
    assert message in str(caught.value)


def test_numbers_written_differently_are_one_run() -> None:
    assert run_of("lr=1e-3").stages == run_of("lr=0.001").stages
    assert run_of("tokens=600000").stages == run_of("tokens=1x").stages
    assert run_of("peak=1").stages == run_of("lr=0.003").stages


def test_shares_and_tokens_become_steps() -> None:
    base, cpt = run_of("tokens=0.5x", "warmup=0.02", "replay=0.25", "peak=2").stages
    assert base.steps == 3_000_000 // 512
    assert cpt.steps == round(300_000 / 512)
    assert cpt.schedule is not None
    assert cpt.schedule.horizon_steps == cpt.steps  # closed: the horizon is what is trained
    assert cpt.schedule.warmup_steps == round(0.02 * cpt.steps)
    assert cpt.schedule.max_lr == pytest.approx(6e-3)
    assert cpt.schedule.min_lr == pytest.approx(6e-4)
    assert dict(cpt.mixture) == {"docs": 1, "python": 3}
    assert cpt.restart == ("docs",)


def test_the_horizon_of_an_open_ended_schedule_is_the_scales() -> None:
    short, long = (run_of("schedule=infinite_cosine", f"tokens={t}").stages[1].schedule for t in ("1x", "3x"))
    assert short is not None
    assert long is not None
    assert short.horizon_steps == long.horizon_steps == round(600_000 / 512)
    assert short.warmup_steps == long.warmup_steps
    assert 2.9 < long.anneal_steps / short.anneal_steps < 3.1


@pytest.mark.parametrize(
    ("schedule", "ratio"),
    [("cosine", 0.1), ("warmup_constant", 1.0), ("wsd", 0.1), ("infinite_cosine", 0.1), ("constant", 1.0)],
)
def test_constant_goes_on_at_the_learning_rate_where_the_base_ended(schedule: str, ratio: float) -> None:
    program, _ = compile_run(run_of(f"base.schedule={schedule}", "schedule=constant"))
    assert program.lr(program.steps - 1) == pytest.approx(ratio * 3e-3)


def test_the_horizon_of_an_open_ended_base_is_its_own() -> None:
    base = run_of("base.schedule=infinite_cosine").stages[0]
    assert base.schedule is not None
    assert base.schedule.horizon_steps == base.steps


def test_warmup_tokens_replace_the_share() -> None:
    schedule = run_of("tokens=20000", "warmup_tokens=1024").stages[1].schedule
    assert schedule is not None
    assert schedule.warmup_steps == 2


def test_a_shift_of_two_embedded_corpora_is_called_what_it_trains() -> None:
    pair, same = run_of("shift=docs_to_cpp"), run_of("shift=embedded", "shift.downstream=cpp")
    assert run_of("shift.downstream=cpp").name == same.name == pair.name
    assert same.config["shift"] == pair.config["shift"]
    assert compile_run(same) == compile_run(pair)


def test_all_replay_is_replay() -> None:
    assert run_of("replay=1").stages[1].restart == ("docs",)
    assert run_of("replay=0.5").stages[1].restart == ("docs",)
    zero = run_of("stages=[{mixture:{upstream:1,downstream:0},tokens:1x}]").stages[1]
    assert zero.restart == run_of("stages=[{mixture:{upstream:1},tokens:1x}]").stages[1].restart == ()


def test_a_knob_both_swept_and_given_is_refused() -> None:
    with pytest.raises(InputError, match="this sweep file sweeps it"):
        sweep_points(["rewarm_warmup"], ["warmup=0.3"])


def test_seeds_multiply_a_sweep_and_stay_apart() -> None:
    points = sweep_points(["rewarm_warmup"], ["seed=0,1"])
    assert len(points) == 8
    assert {point.config["seed"] for point in points} == {0, 1}


def test_composing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can a call that is killed while it composes: no folder is made, not even a temporary one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "mkdir", None)
    collect(["-m", "lr=1e-3,2e-3"])
    with pytest.raises(InputError, match="lrr"):
        collect(["-m", "lrr=1e-3,2e-3"])
    assert os.listdir(".") == []


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("tokens=300k", "tokens=300000"),
        ("tokens=0.3M horizon=0.6M", "tokens=3e5 horizon=600000"),
        ("base.tokens=0.6M warmup_tokens=30k", "base.tokens=600000 warmup_tokens=30000"),
        ("scale.tokens=0.3M scale.horizon=300K", "scale.tokens=300000 scale.horizon=300000"),
        ("schedule=wsd anneal_tokens=60k evaluate.every=90k", "schedule=wsd anneal_tokens=60000 evaluate.every=90000"),
        ("evaluate.early=[6k,0.02M] evaluate.base_every=1M", "evaluate.early=[6000,20000] evaluate.base_every=1e6"),
        ("'stages=[{mixture:{python:1},tokens:0.3M}]'", "'stages=[{mixture:{python:1},tokens:300000}]'"),
    ],
)
def test_tokens_are_read_as_the_program_writes_them(written: str, plain: str) -> None:
    """A unit is another way to write a number: the run, its name and its key are the same."""
    one, other = (compile_points([("", run_of(*shlex.split(line)))])[0] for line in (written, plain))
    assert (one.key, one.run.name) == (other.key, other.run.name)


@pytest.mark.parametrize("value", ["20G", "M", "0.6MM", "-1k", "0k", "many"])
def test_what_is_no_amount_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=f"tokens={value}: not"):
        run_of(f"tokens={value}")


def test_a_home_is_expanded_wherever_a_path_is_given(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(texts))
    own = f"shift=local upstream={texts}/upstream downstream={texts}/downstream"
    tilde = "shift=local upstream=~/upstream downstream=~/downstream"
    assert run_of(*own.split()).recipes == run_of(*tilde.split()).recipes
    (tmp_path / "sweeps").mkdir()
    lines = ("defaults: [config, {override /shift: local}, _self_]", "upstream: ~/upstream")
    (tmp_path / "sweeps" / "own.yaml").write_text("\n".join([*lines, "grids: [{downstream: [~/downstream]}]"]))
    (point,) = collect(["-cd", str(tmp_path / "sweeps"), "-cn", "own"])
    assert read_run(point.config).recipes == run_of(*own.split()).recipes
    for given in ("upstream=~/none", "shift.further={third: ~/none}", "tokenizer=~/none"):
        with pytest.raises(InputError, match=f"{texts}/none"):
            run_of(*tilde.split(), given)
    (point,) = collect(["root=~/store"])
    assert store_of(point.config).root == texts / "store"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("shift.further={third: /nowhere}", "shift.further.third=/nowhere: no such file"),
        ("shift.further={third: null}", "shift.further.third=None: not a path"),
        ("shift.further={upstream: /tmp}", "shift.further.upstream=/tmp: upstream=PATH gives it"),
        ("shift.further={a/b: /tmp}", "shift.further"),
        ("shift.upstream=third", "shift.upstream=third: no such corpus; known: upstream, downstream"),
        ("upstream=''", "upstream=: not a path"),
        ("schedule=cosine_clipped warmup=0.6", "warmup=0.6: 703 steps is more than half"),
        ("schedule=wsd anneal_tokens=0.6M", "anneal_tokens=0.6M: 1172 steps: the anneal would begin"),
        ("schedule=wsd schedule.anneal=1", "schedule.anneal=1: 1172 steps"),
        ("schedule=infinite_cosine schedule.constant_ratio=0.05", "min_ratio=0.1: 0.0003 is above"),
        ("base.schedule={name: cosine_clipped} base.warmup=0.6", "base.warmup=0.6: 3515 steps"),
        ("replay=1e-6", "replay=1e-06: a share of upstream so small that none of it is drawn"),
        ("stages=[{mixture:{upstream:0.5,downstream:0.4},tokens:1x}]", "stages[0].mixture={"),
        (
            "stages=[{mixture:{upstream:1},tokens:1x},{mixture:{upstream:1},tokens:1x,warmup:0.5}]",
            "stages[1].warmup=0.5",
        ),
    ],
)
def test_the_field_that_is_wrong_is_named(given: str, said: str, texts: Path) -> None:
    own = ["shift=local", f"upstream={texts}/upstream", f"downstream={texts}/downstream"]
    more = [word.replace("\0", " ") for word in given.replace(": ", ":\0").split()]
    with pytest.raises(InputError) as caught:
        run_of(*own, *more)
    assert said in str(caught.value)
