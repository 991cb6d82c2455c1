"""The configs of the repository are ones that the harness can plan."""

from __future__ import annotations

import functools
import itertools
import re
from typing import TypeAlias

import pytest

from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.plan.plan import PlannedRun, compile_points
from harness.program.schedule import NAMES
from tests.repository import REPOSITORY


def test_each_schedule_has_a_config_of_its_name() -> None:
    names = []
    for file in (REPOSITORY / "conf" / "schedule").glob("*.yaml"):
        names += re.findall(r"(?m)^name: (\w+)", file.read_text(encoding="utf-8"))
        assert names[-1] == file.stem
    assert set(names) == NAMES


LARGE = ("dcpt_domains", "dcpt_long")  # hundreds of points
SWEEPS = [
    pytest.param(file.stem, marks=[pytest.mark.slow] if file.stem in LARGE else [], id=file.stem)
    for file in sorted((REPOSITORY / "sweeps").glob("*.yaml"))
]
SCALES = sorted(file.stem for file in (REPOSITORY / "conf" / "scale").glob("*.yaml"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_each_sweep_compiles_at_every_scale(sweep: str, scale: str) -> None:
    points = sweep_points([sweep], [f"scale={scale}"])
    assert len(points) > 1
    compiled = compile_points((point.label, read_run(point.config)) for point in points)
    assert sum(len(point.labels) for point in compiled) == len(points)
    assert all(point.program.steps > 0 for point in compiled)


# What the papers state of their runs, a row for each: start, corpora, schedule, peak (or constant) rate, tokens
# trained and horizon in B, warm-up in B, replay. The warm-up of 2308.04014 is a share of 297 B tokens.
END, SLIM, GERMAN = "EleutherAI/pythia-410m@step143000", "pile_to_slimpajama", "pile_to_german"
ALL = 132_366 * 1104 * 2048 / 1e9
Published: TypeAlias = tuple[str, str, str, float, float, float, float, float]
PUBLISHED: dict[str, list[Published]] = {
    "rewarm_warmup": [(END, SLIM, "cosine_clipped", 3e-4, 50, 297, w * 297, 0) for w in (0, 0.005, 0.01, 0.02)],
    "rewarm_max_lr": [
        *((END, SLIM, "cosine_clipped", lr, 240.0, 297.0, 2.97, 0.0) for lr in (1.5e-4, 3e-4, 6e-4)),
        (END, SLIM, "constant", 3e-5, 240, 240, 0, 0),
        ("scratch", SLIM, "cosine_clipped", 3e-4, 240, 297, 2.97, 0),
    ],
    "rewarm_same_data": [
        (END, "pile_to_pile", "constant", 3e-5, 50, 50, 0, 0),
        *((END, "pile_to_pile", "cosine_clipped", lr, 50.0, 297.0, 2.97, 0.0) for lr in (1.5e-4, 3e-4, 6e-4)),
    ],
    "rewarm_checkpoints": [
        *(
            (f"EleutherAI/pythia-410m@step{step}", SLIM, "cosine_clipped", 3e-4, 50.0, 297.0, warmup, 0.0)
            for step in (10_000, 27_000, 143_000)
            for warmup in (0, 2.97)
        ),
        ("scratch", SLIM, "cosine_clipped", 3e-4, 50, 297, 2.97, 0),
    ],
    "scalable_replay": [
        *(("pretrain", SLIM, "cosine", 3e-4, 299.2785, 299.2785, 2.9928, r) for r in (0, 0.005, 0.01, 0.05, 0.1, 0.5)),
        *(("pretrain", GERMAN, "cosine", 3e-4, 200.0, 200.0, 2.0, r) for r in (0, 0.01, 0.05, 0.1, 0.25, 0.5)),
    ],
    "scalable_weak": [
        *(("pretrain", SLIM, "cosine", 3e-4, 50.0, ALL, w * ALL, 0.0) for w in (0, 0.005, 0.01, 0.02)),
        *(("pretrain", SLIM, "cosine", lr, ALL, ALL, ALL / 100, 0.0) for lr in (1.5e-4, 3e-4, 6e-4)),
        ("pretrain", SLIM, "constant", 3e-5, ALL, ALL, 0, 0),
        ("pretrain", SLIM, "warmup_constant", 3e-4, ALL, ALL, ALL / 100, 0),
        *(("pretrain", SLIM, "cosine", 3e-4, ALL, ALL, ALL / 100, r) for r in (0.005, 0.01, 0.05, 0.1, 0.5)),
        ("scratch", SLIM, "cosine", 3e-4, ALL, ALL, ALL / 100, 0),
        ("pretrain", "pile_to_pile", "constant", 3e-5, 50, 50, 0, 0),
        *(("pretrain", "pile_to_pile", "cosine", lr, 50.0, ALL, ALL / 100, 0.0) for lr in (1.5e-4, 3e-4, 6e-4)),
    ],
    "scalable_strong": [
        *(("pretrain", GERMAN, "cosine", 3e-4, 50.0, 200.0, w * 200, 0.0) for w in (0, 0.005, 0.01, 0.02)),
        *(("pretrain", GERMAN, "cosine", lr, 200.0, 200.0, 2.0, 0.0) for lr in (1.5e-4, 3e-4, 6e-4)),
        ("pretrain", GERMAN, "constant", 3e-5, 200, 200, 0, 0),
        ("pretrain", GERMAN, "warmup_constant", 3e-4, 200, 200, 2, 0),
        *(("pretrain", GERMAN, "cosine", 3e-4, 200.0, 200.0, 2.0, r) for r in (0.01, 0.05, 0.1, 0.25, 0.5)),
        ("scratch", GERMAN, "cosine", 3e-4, 200, 200, 2, 0),
    ],
    "scalable_baselines": [
        *(("pretrain", SLIM, "cosine", 3e-4, ALL, ALL, ALL / 100, r) for r in (0, 0.05)),
        ("scratch", SLIM, "cosine", 3e-4, ALL, ALL, ALL / 100, 0),
        ("scratch", SLIM, "cosine", 3e-4, 2 * ALL, 2 * ALL, ALL / 50, 0.5),
        *(("pretrain", GERMAN, "cosine", 3e-4, 200.0, 200.0, 2.0, r) for r in (0, 0.25)),
        ("scratch", GERMAN, "cosine", 3e-4, 200, 200, 2, 0),
        ("scratch", GERMAN, "cosine", 3e-4, 500, 500, 5, 0.6),
    ],
}


@pytest.mark.parametrize("sweep", sorted(PUBLISHED))
def test_at_paper_scale_a_sweep_is_what_was_published(sweep: str) -> None:
    points = sweep_points([sweep], ["scale=paper"])
    for point, published in zip(points, PUBLISHED[sweep], strict=True):
        run = read_run(point.config)
        start, corpora, name, peak, tokens, horizon, warmup, replay = published
        stage, billions = run.stages[-1], run.tokens_per_step / 1e9
        schedule, weights = stage.schedule, dict(stage.mixture)
        assert schedule is not None
        assert run.origin is None or f"{run.origin.repository}@{run.origin.revision}" == start
        assert run.origin is not None or point.config["start"]["kind"] == start
        assert (f"{run.upstream}_to_{run.downstream}", schedule.name) == (corpora, name)
        assert schedule.max_lr == pytest.approx(peak, rel=1e-8)
        assert name == "constant" or schedule.min_lr == pytest.approx(peak / 10, rel=1e-8)
        realised = [stage.steps * billions, schedule.warmup_steps * billions]
        assert realised == pytest.approx([tokens, warmup], abs=0.6 * billions), "to the nearest step"
        assert name == "constant" or schedule.horizon_steps * billions == pytest.approx(horizon, abs=0.6 * billions)
        shift_share = weights.get("pile", 0) / sum(weights.values()) if run.upstream != run.downstream else 0
        assert shift_share == pytest.approx(replay)
        assert stage.optimizer_state == ("keep" if start == "scratch" else "reset")
        assert run.shape is None or (run.shape.layers, run.shape.hidden, run.shape.heads) == (24, 1024, 16)
        if run.base_stages:
            base = run.stages[0]
            assert (base.mixture, base.steps) == ((("pile", 1),), 132_366)
            assert tokens not in (ALL, 200) or stage.steps == {ALL: 132_366, 200: 88_457}[tokens]
            assert base.schedule is not None
            assert (base.schedule.name, base.schedule.max_lr, base.schedule.warmup_steps) == ("cosine", 3e-4, 1324)
            assert stage.restart == (("pile",) if replay else ()), "replay begins where the base did"
            assert stage.reshuffle == ()


def test_the_law_of_mixtures_at_paper_scale() -> None:
    runs = [read_run(point.config) for point in sweep_points(["dcpt"], ["scale=paper"])]
    assert len(runs) == 27
    assert {run.origin.repository for run in runs if run.origin} == {
        f"EleutherAI/pythia-{size}" for size in ("410m", "1.4b", "2.8b")
    }
    assert {run.stages[0].steps for run in runs} == {round(26.2e9 / (1104 * 2048))}


def test_grids_of_a_scale_make_way_for_grids_that_are_given() -> None:
    assert len(sweep_points(["scalable_replay"], ["scale=paper"])) == 12
    assert len(sweep_points(["scalable_replay"], ["scale=paper", "grids=[{seed: [0, 1]}]"])) == 2
    assert len(sweep_points(["scalable_replay"], ["scale=mini,paper"])) == 7 + 12


@functools.cache
def compiled(sweep: str, *overrides: str) -> list[PlannedRun]:
    return compile_points((point.label, read_run(point.config)) for point in sweep_points([sweep], list(overrides)))


def shapes(point: PlannedRun) -> list[str]:
    return [type(phase.lr).__name__ for phase in point.program.phases]


def trunk(point: PlannedRun) -> str:
    """Address of the state that ends a run's base."""
    return point.program.address(point.spans[0].stop)


def test_the_weak_and_the_strong_shift_continue_one_base() -> None:
    points = [point for point in compiled("scalable_weak") if point.run.base_stages]
    assert len({trunk(point) for point in points}) == 1
    assert {point.run.downstream for point in points} == {"science", "systems", "python"}


@pytest.mark.parametrize("sweep", ["rewarm_warmup", "rewarm_max_lr", "rewarm_same_data", "scalable_weak"])
def test_spikes_are_measured_at_twenty_positions_in_the_first_twentieth(sweep: str) -> None:
    for point in sweep_points([sweep], []):
        run = read_run(point.config)
        early = [step for step in run.measurements.early if step <= 0.05 * run.stages[-1].steps]
        assert len(early) >= 20, point.label


@pytest.mark.parametrize(
    ("sweep", "scale"),
    [*(("rewarm_same_data", scale) for scale in SCALES), ("scalable_weak", "mini"), ("scalable_strong", "mini")],
)
def test_beside_the_same_data_another_corpus_is_measured(sweep: str, scale: str) -> None:
    runs = [read_run(point.config) for point in sweep_points([sweep], [f"scale={scale}"])]
    same = [run for run in runs if run.upstream == run.downstream]
    assert len(same) == 4
    assert all(set(run.measurements.sets) - {run.upstream} for run in same)


@pytest.mark.parametrize("scale", ["mini", "small"])
def test_baselines_train_as_many_tokens_as_the_base_and_the_union_those_of_both(scale: str) -> None:
    points = compiled("scalable_baselines", f"scale={scale}")
    bases = {point.run.stages[0].steps for point in points if point.run.base_stages}
    unions = [point for point in points if len(point.program.corpora) == 2 and not point.run.base_stages]
    assert len(bases) == 1
    assert {point.run.stages[-1].steps for point in points if point not in unions} == bases
    assert [point.run.downstream for point in unions] == ["science", "python"]
    for union in unions:
        assert union.program.steps == pytest.approx(2 * max(bases), abs=1)
        assert len(set(union.program.drawn(union.program.steps).values())) == 1


def test_infinite_schedules_are_annealed_off_one_trunk_after_each_part() -> None:
    points = [point for point in compiled("scalable_infinite") if shapes(point)[-1] == "Exponential"]
    part = 600_000 // 512
    anneal = round(0.15 * part)
    for cooldown in ("Cosine", "InverseSqrt"):
        own = [point for point in points if shapes(point)[1] == cooldown]
        assert len(own) == 3 + 3
        for corpora in ({"docs"}, {"systems", "science", "python"}):
            three = sorted((p for p in own if p.run.upstream in corpora), key=lambda point: point.program.steps)
            assert [point.program.steps for point in three] == pytest.approx([part, 2 * part, 3 * part], abs=3)
            assert {point.program.phases[-1].steps for point in three} == {anneal}
            for shorter, longer in itertools.pairwise(three):
                left = shorter.program.steps - anneal
                assert shorter.program.address(left) == longer.program.address(left)
                assert shorter.program.address() != longer.program.address(shorter.program.steps)


def test_infinite_schedules_are_held_against_one_cosine_and_one_for_each_part() -> None:
    points = [point for point in compiled("scalable_infinite") if shapes(point)[-1] == "Cosine"]
    assert len({point.run.name for point in points}) == len(points), "told apart by name"
    for corpora in (("docs",) * 3, ("systems", "science", "python")):
        own = [point for point in points if point.run.upstream == corpora[0]]
        found = sorted((round(p.program.steps / 1172), shapes(p).count("Ramp")) for p in own)
        assert found == [(1, 1), (2, 1), (2, 2), (3, 1), (3, 3)]


def test_domain_by_domain_reads_what_the_mixture_reads() -> None:
    one_by_one, mixed = compiled("scalable_domains")
    left, right = (point.program.drawn(point.program.steps) for point in (one_by_one, mixed))
    assert left.keys() == right.keys()
    assert all(left[key] == pytest.approx(right[key], abs=8) for key in left)
    assert one_by_one.program.steps == pytest.approx(mixed.program.steps, abs=2)
    for point in (one_by_one, mixed):
        assert {recipe.name for recipe in point.run.recipes.values()} == {"docs", "python", "cpp", "sympy"}


@pytest.mark.slow
def test_the_law_of_mixtures_has_four_sizes_nine_ratios_and_four_domains() -> None:
    runs = [read_run(point.config) for point in sweep_points(["dcpt_domains"], [])]
    assert len(runs) == 4 * 9 * 4 * 5
    assert sorted({run.shape.hidden for run in runs if run.shape}) == [32, 64, 96, 128]
    assert len({run.non_embedding for run in runs}) == 4
    assert {run.downstream for run in runs} == {"python", "cpp", "sympy", "science"}
    assert len({run.config["replay"] for run in runs}) == 9
    tokens = sorted({run.stages[-1].steps * 512 for run in runs})
    assert tokens == pytest.approx([6e4, 1.2e5, 2.4e5, 4.2e5, 6e5], abs=512)
    general = compile_points(
        ("", run) for run in runs if (run.config["replay"], run.config["model"]["name"]) == (1, "mini")
    )
    assert len({point.program.address() for point in general}) == 5, "the general corpus alone serves all domains"
    assert all(shapes(point)[-2:] == ["Constant", "Linear"] for point in general)


@pytest.mark.slow
def test_the_long_runs_of_the_law_go_on_from_the_trunks_of_the_short_ones() -> None:
    def shown(sweep: str) -> dict[int, PlannedRun]:
        points = [p.config for p in sweep_points([sweep], [])]
        wanted = (read_run(c) for c in points if (c["replay"], c["model"]["name"]) == (0.1, "mini"))
        found = compile_points(("", run) for run in wanted if run.downstream == "python")
        return {point.run.stages[-1].steps * 512: point for point in found}

    short, long, decaying = shown("dcpt_domains"), shown("dcpt_long"), shown("dcpt_decaying")
    assert max(long) >= 49.9 * min(long)
    assert {point.program.address() for point in short.values()} < {point.program.address() for point in long.values()}
    last = long[max(long)].program
    for tokens, point in long.items():
        left = point.program.steps - point.program.phases[-1].steps
        assert point.program.address(left) == last.address(left), tokens
    assert [shapes(point)[-1] for point in decaying.values()] == ["Cosine"]
    assert trunk(decaying[max(decaying)]) == trunk(long[max(long)])


def test_the_noise_floor_is_of_one_base_and_six_orders_which_names_tell_apart() -> None:
    points = compiled("data_order")
    for downstream in ("science", "python"):
        own = [point for point in points if point.run.downstream == downstream]
        assert len({trunk(point) for point in own}) == 1
        assert len({point.program.address() for point in own}) == len({point.run.name for point in own}) == 6
        assert not {int(point.run.config["seed"]) for point in own} & {0, 1, 2, *range(10, 20)}, "no verdict is of them"
