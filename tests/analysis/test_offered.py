"""What `import analysis` offers a notebook: names that are there, paths as texts, from a table to a plot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import analysis
from analysis.figures.style import save
from harness.core.errors import InputError
from harness.store.store import Store
from tests.synthetic_store import points_of, write


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store, named by a text."""
    folder = tmp_path_factory.mktemp("offered") / "store"
    write(
        folder, points_of(["rewarm_warmup"]), lambda _, corpus, tokens, __: 3.0 + len(corpus) / (9.0 + max(tokens, 0))
    )
    return str(folder)


def test_every_name_that_is_offered_is_there_and_loads_nothing_before() -> None:
    for name in dir(analysis):
        assert getattr(analysis, name) is not None
    assert {"load", "read", "fit_law", "domain_ability", "plots"} <= set(dir(analysis))
    code = "import sys, analysis; assert not {'pandas', 'numpy', 'matplotlib'} & set(sys.modules); analysis.plots\n"
    code += (
        "from analysis import *; load, fit_law, tables.read, optimise.domain_ability; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        analysis.lod  # noqa: B018


def test_from_a_store_named_by_a_text_to_a_plot(root: str, tmp_path: Path) -> None:
    table = analysis.load(root)
    assert table.equals(analysis.load(Path(root)))
    assert len(analysis.load(root, "rewarm_warmup", overrides="seed=0")) == len(table)
    assert len(analysis.read_runs(root)) == 4
    table.to_csv(tmp_path / "table.csv", index=False)
    again = analysis.read(str(tmp_path / "table.csv"))
    assert list(again.loss) == list(table.loss)
    later = again[(again.D > 0) & (again.role == "downstream")].assign(N=1e6)
    fit = analysis.fit_law(analysis.LAWS["chinchilla"], later, fixed={"A": 0.0, "alpha": 0.5})
    file = save(str(tmp_path / "fit.png"), lambda axes: analysis.plots.residuals(axes, fit, later))
    assert file.stat().st_size > 1000


def test_a_store_that_is_not_there_is_told_as_anywhere() -> None:
    with pytest.raises(InputError, match="root=nowhere: there is no store"):
        analysis.load("nowhere")
    with pytest.raises(InputError, match=r"fit=nowhere\.json: cannot be read"):
        analysis.read_fit("nowhere.json")


def test_one_parent_may_be_named_alone(root: str, tmp_path: Path) -> None:
    assert Store(tmp_path / "own", root).addresses() == Store(root).addresses() != set()
