"""One process against one process: the harness, the bare loop, transformers' Trainer, torch's own products, a disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks import workload
from benchmarks.sides import Side, interleaved
from benchmarks.table import Row
from benchmarks.workload import Bench, Workload
from harness.program.shape import flops_per_token

MODELS = ("mini", "mini_1m")
STATE_MODELS = {"mini": (), "mini_1m": (), "pythia-70m": ("corpus.vocab_size=2048",)}


def loop(bench: Bench) -> list[Row]:
    """A run through the harness against the bare loop over the same model, with the same evaluations."""
    from benchmarks import contenders

    rows = []
    with Side(tuned=True) as ours, Side(tuned=True) as bare, Side(tuned=False) as plain:
        for model in MODELS:
            work = workload.training(bench, model)
            calls = {
                "harness": partial(ours.ask, contenders.harness, work, bench.scratch),
                "bare": partial(bare.ask, contenders.loop, work, bench.scratch),
                "bare, stock malloc": partial(plain.ask, contenders.loop, work, bench.scratch),
            }
            rates = _rates(f"loop {model}", bench, work, calls)
            note = (
                "evaluations included on both sides; the harness also saves its states and opens its store, the bare "
                "loop finds its batches and learning rates in memory and saves nothing"
            )
            rows.append(
                Row(f"loop {model}: harness / bare loop", "tokens/s", rates["harness"], rates["bare"], 0.97, note=note)
            )
            note = "the bare loop as most write it: without the harness's malloc settings (model.tune_process)"
            rows.append(
                Row(
                    f"loop {model}: harness / bare loop, stock malloc",
                    "tokens/s",
                    rates["harness"],
                    rates["bare, stock malloc"],
                    note=note,
                )
            )
    return rows


def trainer(bench: Bench) -> list[Row]:
    """Training alone against transformers' Trainer."""
    from benchmarks import contenders

    rows = []
    with Side(tuned=True) as ours, Side(tuned=False) as theirs, Side(tuned=True) as tuned:
        for model in MODELS:
            work = workload.training(bench, model, measured=False)
            calls = {
                "harness": partial(ours.ask, contenders.harness, work, bench.scratch),
                "Trainer": partial(theirs.ask, contenders.transformers_trainer, work, bench.scratch),
                "Trainer, malloc as ours": partial(tuned.ask, contenders.transformers_trainer, work, bench.scratch),
            }
            rates = _rates(f"trainer {model}", bench, work, calls)
            target = 1.2 if model == "mini" else None
            note = (
                "no evaluations, logging or reports on either side; the harness saves its states all the same; of "
                "Trainer only train() is timed, in a process as a user starts it"
            )
            rows.append(
                Row(
                    f"trainer {model}: harness / transformers.Trainer",
                    "tokens/s",
                    rates["harness"],
                    rates["Trainer"],
                    target,
                    note=note,
                )
            )
            note = "Trainer with the harness's malloc settings, which it has not got: what is left without them"
            rows.append(
                Row(
                    f"trainer {model}: harness / Trainer, malloc as ours",
                    "tokens/s",
                    rates["harness"],
                    rates["Trainer, malloc as ours"],
                    note=note,
                )
            )
    return rows


def flops(bench: Bench) -> list[Row]:
    """Model FLOP/s of training as a share of what torch.matmul reaches at the model's own shapes."""
    from benchmarks import contenders

    rows = []
    with Side(tuned=True) as side:
        for model in MODELS:
            work = workload.training(bench, model, measured=False)
            calls = {
                "harness": partial(side.ask, contenders.harness, work, bench.scratch),
                "matmul": partial(side.ask, contenders.matmul_rate, work.shape, work.batch, work.seq_len),
            }
            _warm_up(model, bench, side)
            measured = interleaved(f"flops {model}", bench.pairs, calls)
            per_run = work.tokens * flops_per_token(work.shape, work.seq_len) / 1e9
            note = (
                "6 N + 6 V d + 12 L d T per token (shape.flops_per_token) over the whole of a run, against the same "
                "products by torch.matmul into ready memory, forward and both backward, weighted by their FLOPs, "
                "the best of 5 rounds each"
            )
            rows.append(
                Row(
                    f"flops {model}: model FLOP/s / torch.matmul",
                    "GFLOP/s",
                    tuple(per_run / seconds for seconds in measured["harness"]),
                    tuple(rate / 1e9 for rate in measured["matmul"]),
                    0.6 if model == "mini_1m" else None,
                    note=note,
                )
            )
    return rows


def state(bench: Bench) -> list[Row]:
    """Seconds per state: weights, both moments, history, checksums."""
    from benchmarks import contenders

    rows = []
    with Side(tuned=True) as side:
        for model, more in STATE_MODELS.items():
            workload.print_line(f"state {model}")
            work = workload.workload(model, 16384, warmup=0.1, more=more)
            times = side.ask(contenders.saved_and_loaded, work, bench.scratch, bench.pairs)
            note = "with optimizer; saved: synced to disk; loaded: model made, checksums checked, page cache warm"
            rows.append(Row(f"state {model}: save", "s", tuple(saved for saved, _ in times), note=note))
            rows.append(Row(f"state {model}: load", "s", tuple(loaded for _, loaded in times), note=note))
    return rows


def _rates(
    name: str, bench: Bench, work: Workload, calls: Mapping[str, Callable[[], float]]
) -> dict[str, tuple[float, ...]]:
    """Tokens per second of each call, after one unmeasured round: imports of functions, opened corpora, page cache."""
    for call in calls.values():
        call()
    measured = interleaved(f"{name}, seconds", bench.pairs, calls)
    return {key: tuple(work.tokens / seconds for seconds in values) for key, values in measured.items()}


def _warm_up(model: str, bench: Bench, side: Side) -> None:
    from benchmarks import contenders

    side.ask(contenders.harness, workload.workload(model, 16384, measured=False, warmup=0.1), bench.scratch)
