"""`python -m benchmarks [name ...]`: measure, then print one table (or one JSON document).

Everything is measured on CPU, in one call, in stores that are removed again. No number fails anything: status 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import (
    bounds,
    cluster,
    coverage,
    deciding,
    fits,
    ingest,
    isoflop,
    page,
    planning,
    profiles,
    ranks,
    refusals,
    speed,
    sweeps,
    table,
    tables,
    verdicts,
)
from benchmarks.workload import Bench, corpora, planned, print_line
from harness.store.store import Store
from harness.workers.pool import ONE_THREAD

ALL = {
    "loop": speed.loop,
    "trainer": speed.trainer,
    "flops": speed.flops,
    "state": speed.state,
    "ranks": ranks.ranks,
    "plan": planning.plan,
    "refusals": refusals.refusals,
    "ingest": ingest.ingest,
    "clean": ingest.clean,
    "tables": tables.tables,
    "deciding": deciding.deciding,
    "fits": fits.fits,
    "bounds": bounds.bounds,
    "isoflop": isoflop.isoflop,
    "coverage": coverage.coverage,
    "profiles": profiles.profiles,
    "verdicts": verdicts.verdicts,
    "slurm": cluster.slurm,
    "infinite": sweeps.infinite,
    "demo": sweeps.demo,
}


def arguments() -> argparse.Namespace:
    about = {name: (function.__doc__ or "").splitlines()[0] for name, function in ALL.items()}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed on this machine. Leave the machine alone meanwhile: all of it takes most of an hour.",
        epilog="\n".join(f"{name:10}{text}" for name, text in about.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which (default: all): " + ", ".join(ALL))
    parser.add_argument("--pairs", type=int, default=7, help="interleaved runs of each side (7)")
    parser.add_argument("--demo-pairs", type=int, default=1, help="repetitions of demo and infinite, minutes each (1)")
    about_all = "run all points of the demo separately, not 4, and all starts of scipy's D-CPT fit, not a tenth"
    parser.add_argument("--all", action="store_true", help=about_all)
    parser.add_argument("--quick", action="store_true", help="tiny amounts, one pair: only shows that all of it works")
    about_root = "corpora are read from here if they are built (else made, then removed); scratch space, too"
    parser.add_argument("--root", type=Path, default=Path("runs"), help=about_root)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout in place of the table")
    about_page = "also write what was measured into its sections of this page (make bench: docs/benchmarks.md)"
    parser.add_argument("--page", type=Path, metavar="FILE", help=about_page)
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in ALL]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(ALL)}")
    if min(given.pairs, given.demo_pairs) < 1:
        parser.error("--pairs and --demo-pairs are at least 1")
    if given.page and not given.page.is_file():
        parser.error(f"--page {given.page}: no such file")
    return given


def main() -> None:
    given = arguments()
    # For the processes started from here: one thread each, as the harness's workers, and no GPU.
    os.environ.update(ONE_THREAD, CUDA_VISIBLE_DEVICES="", TOKENIZERS_PARALLELISM="false")
    facts = {**table.machine(), "quick": given.quick}
    rows: list[table.Row] = []
    with _scratch(given.root) as scratch:
        plan = planned(["-m", "shift=docs_to_python,docs_to_docs"], Store(scratch))
        corpora([r for point in plan.points for r in point.run.recipes.values()], scratch, given.root)
        pairs, sweep_pairs = (1, 1) if given.quick else (given.pairs, given.demo_pairs)
        bench = Bench(scratch, pairs, sweep_pairs, given.quick, given.all)
        for name, function in ALL.items():
            if not given.names or name in given.names:
                print_line(f"--- {name}")
                measured = function(bench)
                rows += measured
                if given.page and measured and not given.quick:  # those are too small to say how fast anything is
                    page.write(given.page, name, facts, measured)
    if given.json:
        print(json.dumps(table.document(facts, rows)))
        return
    if given.quick:
        print("--quick: amounts far too small to say how fast anything is\n")
    print("\n".join(table.lines(facts, rows)))


@contextlib.contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """A folder on the disk of the user's store (saves cost what they cost there), removed in the end."""
    made = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=root.resolve(), prefix=".benchmarks-") as folder:
            yield Path(folder)
    finally:
        if made:
            with contextlib.suppress(OSError):  # something else was put there meanwhile
                root.rmdir()


if __name__ == "__main__":
    main()
