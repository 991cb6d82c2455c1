"""A run as a program: boundaries, addresses, learning rates and cursors as functions of position."""

from __future__ import annotations

import pytest

from harness.config.compile import compile_run
from harness.program.program import Program
from harness.program.schedule import Constant, Cosine, Exponential, Ramp
from tests.composed import run_of


def program_of(*overrides: str) -> Program:
    return compile_run(run_of(*overrides))[0]


def test_phases_are_cut_at_every_learning_rate_and_data_boundary() -> None:
    program = program_of()
    assert [type(phase.lr) for phase in program.phases] == [Ramp, Cosine, Ramp, Cosine]
    assert program.starts == (0, 59, 5859, 5871, 5859 + 1172)
    assert program.lr(0) == 0
    assert program.lr(59) == pytest.approx(3e-3, rel=1e-8)
    assert program.lr(5858) == pytest.approx(3e-4, rel=1e-4)
    assert program.lr(5859) == 0
    assert [phase.optimizer_state for phase in program.phases] == ["keep", "keep", "reset", "keep"]


def test_a_run_stopped_early_is_a_prefix_of_the_one_that_goes_on() -> None:
    short, long = program_of("tokens=0.166x", "horizon=1x"), program_of("tokens=1x")
    assert short.steps < long.steps
    assert short.address() == long.address(short.steps)
    for position in (0, 1, 30, 59, 60, 3000, 5859, 5865, 5871, 5900, short.steps):
        assert short.address(position) == long.address(position)
    assert program_of("tokens=0.166x").address() != short.address()  # its own horizon is another cosine


def test_equal_programs_written_differently_are_one() -> None:
    assert program_of("lr=1e-3").address() == program_of("lr=0.001").address()
    assert program_of("schedule=constant", "lr=1e-3").address() == program_of("schedule=constant", "warmup=0").address()
    assert program_of("evaluate.windows=8").address() == program_of().address()
    assert program_of("stages=[{mixture:{downstream:1},tokens:1x}]").address() == program_of().address()


def test_everything_that_shapes_training_is_in_the_address() -> None:
    different = [
        (),
        ("lr=1e-3",),
        ("warmup=0",),
        ("replay=0.05",),
        ("replay=0.05", "replay_order=reshuffle"),
        ("seed=1",),
        ("order=1",),
        ("init=1",),
        ("tokens=2x",),
        ("horizon=2x",),
        ("optimizer_state=keep",),
        ("shift=docs_to_cpp",),
        ("start=scratch",),
        ("start.at=0.5",),
        ("schedule=linear",),
        ("schedule=constant",),
        ("min_ratio=0.2",),
        ("optimizer.weight_decay=0",),
        ("optimizer.clip=2",),
        ("batch.sequences=8",),
        ("batch.seq_len=64",),
        ("model=mini_1m",),
        ("base.tokens=2x",),
        ("base.peak=1e-3",),
        ("corpus.sample=0.5",),
        ("precision=bf16",),
    ]
    addresses = {program_of(*overrides).address() for overrides in different}
    assert len(addresses) == len(different)


def test_a_constant_run_joins_what_nothing_tells_apart() -> None:
    stage = "{mixture:{downstream:1},tokens:1x}"
    two = program_of("schedule=constant", f"stages=[{stage},{stage}]")
    one = program_of("schedule=constant", "tokens=2x")
    assert len(two.phases) == len(one.phases) == 3
    assert two.address() == one.address()


def test_an_extended_constant_run_goes_on_from_the_shorter_one() -> None:
    short, long = (program_of("schedule=constant", f"tokens={t}") for t in ("1x", "2x"))
    assert long.address(short.steps) == short.address()


def test_the_trunk_of_an_infinite_schedule_does_not_depend_on_tokens() -> None:
    programs = [program_of("schedule=infinite_cosine", f"tokens={t}") for t in ("1x", "1.5x", "2x")]
    anneals = [program.starts[-2] for program in programs]
    for program, branch in zip(programs, anneals, strict=True):
        assert isinstance(program.phases[-1].lr, Exponential)
        assert program.address(branch) == programs[-1].address(branch)
    assert len({program.address() for program in programs}) == 3


def test_three_corpora_under_one_infinite_schedule() -> None:
    mixtures = ("{docs:1}", "{docs:0.1,python:0.9}", "{cpp:1}")
    stages = ",".join(f"{{mixture:{mixture},tokens:1x}}" for mixture in mixtures)
    program = program_of("start=scratch", "schedule=infinite_cosine", f"stages=[{stages}]")
    lr = [program.lr(position) for position in range(program.steps)]
    warmup, step = 12, 1172
    assert lr[0] == 0
    assert lr[warmup] == pytest.approx(3e-3, rel=1e-8)
    assert max(abs(a - b) for a, b in zip(lr[warmup:], lr[warmup + 1 :], strict=False)) < 3e-5  # no jump at a boundary
    assert lr[step] == pytest.approx(0.55 * 3e-3, rel=1e-6)  # constant since 60 % of the horizon
    assert lr[-1] == pytest.approx(3e-4, rel=0.01)
    keys = [tuple(source.corpus for source in phase.sources) for phase in program.phases]
    boundaries = [program.starts[i + 1] for i in range(len(keys) - 1) if keys[i] != keys[i + 1]]
    assert boundaries == [step, 2 * step]
    assert program.drawn(3 * step) == program.drawn(program.steps)
    docs = program.phases[0].sources[0].corpus
    assert program.cursors[-1][docs] == 4 * step + round(0.1 * 4 * step)  # the second stage read on, unseen windows


def test_repeated_cosines() -> None:
    stage = "{mixture:{docs:1},tokens:1x,schedule:cosine}"
    program = program_of("start=scratch", f"stages=[{stage},{stage},{stage}]")
    lr = [program.lr(position) for position in range(program.steps)]
    for k in range(3):
        start = k * 1172
        assert lr[start] == 0
        assert lr[start + 12] == pytest.approx(3e-3, rel=1e-8)
        assert lr[start + 1171] == pytest.approx(3e-4, rel=0.01)
    assert all(phase.optimizer_state == "keep" for phase in program.phases)


def test_replay_reads_the_bases_own_permutation_again_from_its_first_window() -> None:
    program = program_of("replay=0.25")
    docs = next(source for source in program.phases[2].sources if source.weight == 1)
    assert docs.restart
    assert docs.order == program.phases[0].sources[0].order
    assert program.cursors[2][docs.corpus] == 0
    assert program.cursors[3][docs.corpus] == 12  # a quarter of the warm-up's 48 sequences
    assert not any(source.restart for source in program.phases[3].sources)


def test_the_same_data_goes_on_to_unseen_windows() -> None:
    program = program_of("shift=docs_to_docs")
    docs = program.phases[2].sources[0]
    assert not docs.restart
    assert program.cursors[2][docs.corpus] == 5859 * 4


def test_downstream_draws_of_a_replay_arm_are_a_prefix_of_the_pure_arms() -> None:
    replay, pure = program_of("replay=0.05"), program_of()
    python = pure.phases[-1].sources[0]
    again = next(source for source in replay.phases[-1].sources if source.corpus == python.corpus)
    assert (again.order, again.restart) == (python.order, python.restart)
    assert replay.drawn(replay.steps)[python.corpus] == 1172 * 4 - round(0.05 * 4 * 12) - round(0.05 * 4 * 1160)


def test_seeds_have_their_own_bases_unless_one_is_shared() -> None:
    own = {program_of(f"seed={seed}").address(5859) for seed in (0, 1)}
    shared = {program_of(f"seed={seed}", "base.seed=0").address(5859) for seed in (0, 1)}
    assert (len(own), len(shared)) == (2, 1)


def test_cosine_past_its_horizon_holds_the_floor() -> None:
    program = program_of("tokens=1x", "horizon=0.5x")
    assert isinstance(program.phases[-1].lr, Constant)
    assert program.lr(program.steps - 1) == pytest.approx(3e-4)


def test_addresses_are_stable() -> None:
    """A golden address: states stored today must be found tomorrow."""
    from harness.program.program import Adam, Phase, Scratch, Source
    from harness.program.shape import ModelShape

    phase = Phase(10, Constant(1e-3), (Source("c" * 32, 1, 0),), 4, 128, Adam(0.9, 0.95, 1e-8, 0.1, 1.0))
    program = Program(Scratch(ModelShape(2, 64, 4, 2048, 128), 0), (phase,))
    assert program.address() == "0f1cbfeafa7884a72bab23a2ad168965"
