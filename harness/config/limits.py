"""The largest value of every number that a user gives, with its reason: what is above would never end or never train.

A field is looked up by its name or the last part of it (`base.tokens`, `stages[0].tokens`); shares, which end at 1, say
so where they are read. A test holds that every number of conf/ has a limit.
"""

from __future__ import annotations

import math

from harness.core.errors import InputError

TEXTS = "no collection of texts holds a hundredth of it"
CLUSTER = "no cluster has so many"
EXACT = "larger whole numbers are not exact in JSON"
STEP = "AdamW moves every weight by about that much at each step, and initial weights are near 0.02"
MOST = {  # field: (largest value, reason)
    "lr": (10, STEP),
    "base.peak": (10, STEP),
    "model.peak": (10, STEP),
    "peak": (10_000, "no base has so small a peak"),
    "tokens": (1e15, TEXTS),
    "horizon": (1e15, TEXTS),
    "warmup_tokens": (1e15, TEXTS),
    "anneal_tokens": (1e15, TEXTS),
    "early": (1e15, TEXTS),
    "every": (1e15, TEXTS),
    "base_every": (1e15, TEXTS),
    "timescale": (1e6, "an inverse square root is a step by then"),
    "seed": (9e15, EXACT),
    "init": (9e15, EXACT),
    "order": (9e15, EXACT),
    "batch": (1_000_000, "largest batches of the literature have some 10,000 sequences"),
    "sequences": (1_000_000, "largest batches of the literature have some 10,000 sequences"),
    "micro_batch": (1_000_000, "no batch has so many sequences"),
    "seq_len": (2**20, "attention over a million tokens fits no machine"),
    "layers": (1000, "the deepest language models have some 130 layers"),
    "hidden": (2**17, "the widest language models have some 20,000"),
    "heads": (2**14, "the largest language models have some 130 heads"),
    "vocab_size": (2**22, "the largest vocabularies have some 260,000 tokens"),
    "windows": (1_000_000, "all of them are measured at every position"),
    "final_windows": (1_000_000, "the losses of all of them are kept"),
    "eps": (1, "Adam's steps would shrink to nothing"),
    "weight_decay": (1000, "AdamW takes lr times as much off every weight at each step"),
    "clip": (1e30, "beyond what a gradient of fp32 can reach"),
    "flop_rate": (1e21, "a thousand times the fastest machine of the world"),
    "workers": (10_000, "no machine has room for so many"),
    "per_gpu": (1000, "no GPU has room for so many"),
    "save_every": (1e8, "longer than three years"),
    "ranks": (100_000, CLUSTER),
    "ranks_per_node": (10_000, CLUSTER),
    "nodes": (100_000, CLUSTER),
    "gpus_per_node": (1000, CLUSTER),
    "cpus": (10_000, CLUSTER),
    "mem": (1_000_000, "that is a petabyte, and no node has it"),
    "minutes": (525_600, "that is a year, and no cluster grants it"),
    "lead": (86_400, "that is a day, and no save takes it"),
    "at_once": (1_000_000, "no queue takes so many"),
    "retries": (1000, "what failed so often fails again"),
    "requeues": (1_000_000, "no job comes so far"),
    "unit_bytes": (1e12, "a unit is what a killed job has to build again"),
    "sequence": (2**20, "attention over a million tokens fits no machine"),
    "weight": (100, "weights sum up to 1, or to 100 where they are per cent"),
    "longest_document": (1e12, "a document is held in memory as a whole"),
    "max_points": (10_000_000, "to compose so many takes hours"),
    "parameters": (1e15, "no model has so many"),
}
POSITIONS = 500_000  # at which one run is measured: each is a row per corpus, and planning holds them all (5 s)
ALL_POSITIONS = 5_000_000  # of all runs of a plan: some minutes and 3 GB


def check_most(field: str, value: float, shown: object) -> None:
    """InputError for a value above the limit of its field, if there is one."""
    most, why = MOST.get(field) or MOST.get(field.rpartition(".")[2]) or (math.inf, "")
    if value > most:
        raise InputError(field, shown, f"above {most:g}: {why}", f"give at most {most:g}")
