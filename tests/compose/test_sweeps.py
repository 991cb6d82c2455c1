"""The configs of the repository are ones that the harness can plan."""

from __future__ import annotations

import re
from typing import TypeAlias

import pytest

from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.plan.plan import compile_points
from harness.program.schedule import NAMES
from tests.repository import REPOSITORY


def test_each_schedule_has_a_config_of_its_name() -> None:
    names = []
    for file in (REPOSITORY / "conf" / "schedule").glob("*.yaml"):
        names += re.findall(r"(?m)^name: (\w+)", file.read_text(encoding="utf-8"))
        assert names[-1] == file.stem
    assert set(names) == NAMES


SWEEPS = sorted(file.stem for file in (REPOSITORY / "sweeps").glob("*.yaml"))
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
            assert stage.steps == {"slimpajama": 132_366, "german": 88_457}[run.downstream]
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
