"""How long it takes to be told that an input cannot be used: whole commands, process start to exit."""

from __future__ import annotations

from pathlib import Path

from benchmarks.table import Row
from benchmarks.workload import Bench, command, fresh_store, print_line

BUILDS_ON = "defaults: [config, _self_]\n"
LETTERS = zip("abcdefghi", "bcdefghij", strict=True)
FILES = {
    "ten million points": BUILDS_ON
    + f"grids: [{{seed: &n [{', '.join(map(str, range(220)))}], order: *n, init: *n}}]\n",
    "anchors that multiply": BUILDS_ON
    + "a: &a [1, 1]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in LETTERS),
    "5,000 levels": BUILDS_ON + "lr: " + "[" * 5000 + "]" * 5000 + "\n",
}
OVERRIDES = ["lr=-1", "lrr=1", "tokens=1e30", "lr=1e24", f"lr={'[' * 300}", "shift=../model/mini", "hydra.run.dir=x"]


def refusals(bench: Bench) -> list[Row]:
    """Wrong overrides and sweep files, each refused by a whole command."""
    with fresh_store(bench.scratch) as root:
        inputs = [[override] for override in OVERRIDES] + [["-m", "lr=range(1,100000000)"]]
        for number, content in enumerate(FILES.values()):
            Path(root, f"wrong{number}.yaml").write_text(content)
            inputs.append(["-cd", str(root), "-cn", f"wrong{number}"])
        seconds = tuple(
            command(*one, f"root={root}/store", status=2) for one in (inputs[:2] if bench.quick else inputs)
        )
    print_line(f"refusals: at most {max(seconds):.2f} s")
    return [
        Row(
            "refusals: an input that cannot be used", "s", seconds, note=f"{len(seconds)} inputs, each a whole command"
        ),
        Row("refusals: the slowest of them", "s", (max(seconds),)),
    ]
