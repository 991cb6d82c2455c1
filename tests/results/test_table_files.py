"""Files of others: what they hold decides how they are read; a name is a text; what is ambiguous is refused."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from analysis.results.tables import read
from harness.core.errors import InputError

ROWS = [("a", 10**9, 3.25), ("b", 2 * 10**9, 3.125), ("c", 3 * 10**9, 0.5)]
FRAME = pd.DataFrame(ROWS, columns=["run", "params", "loss"])


def refusal(path: Path, content: bytes | str, columns: dict[str, str] | None = None) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as refused:
        read(path, columns or {})
    assert "\n" not in str(refused.value)
    return str(refused.value)


def csv_of(delimiter: str = ",", point: str = ".") -> str:
    lines = [("run", "params", "loss"), *((run, str(n), str(loss).replace(".", point)) for run, n, loss in ROWS)]
    return "".join(delimiter.join(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tabs.csv", csv_of("\t").encode()),
        ("semicolons.csv", csv_of(";").encode()),
        ("decimal commas.csv", csv_of(";", ",").encode()),
        ("decimal commas, tabs.csv", csv_of("\t", ",").encode()),
        ("bars.txt", csv_of("|").encode()),
        ("utf-16.csv", csv_of().encode("utf-16")),
        ("utf-16, tabs.csv", csv_of("\t").encode("utf-16")),
        ("mark.csv", csv_of().encode("utf-8-sig")),
        ("gzip.csv", gzip.compress(csv_of().encode())),
        ("windows.csv", csv_of().replace("\n", "\r\n").encode()),
        ("comments.csv", f"# by hand; see,there\n\n# again\n{csv_of()}".encode()),
        ("commented header.csv", f"# by hand\n# {csv_of()}".encode()),
        ("numpy's header.csv", f"#{csv_of('|')}".encode()),
        ("spaces.csv", csv_of(" , ").encode()),
        ("quoted.csv", csv_of().replace("a,", '"a",').encode()),
    ],
)
def test_unambiguous_files_are_read_whatever_they_are_called(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    table = read(tmp_path / name, {})
    table["run"] = table["run"].str.strip()
    pd.testing.assert_frame_equal(table, FRAME, check_exact=True)


def test_parquet_is_known_by_its_content(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(read(tmp_path / "t.csv", {}), FRAME, check_exact=True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("run;params;loss, nats\na;1;5,3\nb;2;5,1\n", "could be separated by commas or by semicolons"),
        ("run;loss\na;1,234\nb;5,678\n", "'1,234' could be a number with separators of thousands"),
        (
            "run;loss;n\na;1,5;1.000\nb;5,25;2.000\n",
            "'1.000' could be a number with separators of thousands, and '1,5'",
        ),
        ("run;loss\na;1.234,5\nb;5.678,25\n", "separators of thousands"),
        ("run params loss\na 1 2\nb 2 3\n", "its columns are separated by spaces"),
        (b"run,loss\na\xe9,1\n", "it is not UTF-8 (byte 0xe9 in line 2); save the table as UTF-8"),
        ("run,loss\na,1\n".encode("utf-16-le"), "it has zero bytes; save the table as CSV in UTF-8"),
        ('{"run": ["a"], "loss": [1]}', "it is JSON"),
        ("<!DOCTYPE html><html>", "it is a web page"),
        (b"\xfd7zXZ\x00 and so on", "it is compressed by xz"),
        (gzip.compress(b"run,loss\na,1\n" * 999)[:60], "it cannot be read as a table (Compressed file ended"),
        ('run,loss\na,"1\n', "it cannot be read as a table"),
    ],
)
def test_what_could_be_read_in_two_ways_or_not_at_all_is_named(tmp_path: Path, content: bytes | str, why: str) -> None:
    assert why in refusal(tmp_path / "t.csv", content)


def test_an_excel_workbook_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as workbook:
        workbook.writestr("xl/workbook.xml", "<workbook/>")
    assert "it is an Excel workbook" in refusal(tmp_path / "t.csv", (tmp_path / "x.zip").read_bytes())


def test_separators_of_thousands_are_named_where_a_number_is_needed(tmp_path: Path) -> None:
    content = 'run,params,loss\na,"10,000,000",3\nb,"20,000,000",2\n'
    message = refusal(tmp_path / "t.csv", content, {"N": "params"})
    assert "'10,000,000' of params in row 2 is not a number; give numbers (1234.5, no separators of" in message


def test_amounts_with_units_are_shown_as_numbers_and_no_remedy_leaves_nothing(tmp_path: Path) -> None:
    message = refusal(tmp_path / "t.csv", "run,params,loss\na,10M,3\nb,0.5B,2\n", {"N": "params"})
    assert message.endswith("write it as 10000000, or name another column: all 2 cells of this one are like it")
    message = refusal(tmp_path / "t.csv", "run,params,loss\na,10M,3\nb,5e8,2\n", {"N": "params"})
    assert message.endswith("write it as 10000000, or leave these rows out: --where 'isfinite(params)'")


def test_names_are_texts(tmp_path: Path) -> None:
    """A run may be called NA or 007; only in a column of numbers is NA a missing one."""
    names = ["NA", "null", "nan", "None", "1e5", "007", "True", "-", "N/A", "1_0"]
    lines = [f"{name},{name},{'NA' if i == 1 else i},0{i}" for i, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["run,label,loss,code", *lines]) + "\n")
    table = read(tmp_path / "t.csv", {})
    assert table.run.tolist() == table.label.tolist() == names
    assert table.loss.isna().tolist() == [i == 1 for i in range(10)]
    assert table.code.tolist() == [f"0{i}" for i in range(10)]  # not 0 to 9: 007 and 7 may be two names
    assert read(tmp_path / "t.csv", {}, where='run != "NA"').run.tolist() == names[1:]
    assert read(tmp_path / "t.csv", {"K": "code"}).K.tolist() == list(range(10))  # a number where one is asked for


@pytest.mark.parametrize("name", ["NA", "1e5", "007", "True", "12345678901234567890"])
def test_runs_of_one_such_name_each(tmp_path: Path, name: str) -> None:
    """Also where the whole column looks like numbers, under whatever name it is in the file."""
    (tmp_path / "t.csv").write_text(f"id,loss\n{name},3\n{name}0,2\n")
    assert read(tmp_path / "t.csv", {"run": "id"}).run.tolist() == [name, f"{name}0"]
    (tmp_path / "t.csv").write_text(f"run,loss\n{name},3\n{name},2\n")
    assert read(tmp_path / "t.csv", {}).run.tolist() == [name, name]


def test_a_missing_name_is_missing(tmp_path: Path) -> None:
    message = refusal(tmp_path / "t.csv", "id,loss\na,3\n,2\n", {"run": "id"})
    assert "1 of 2 cells of id are missing (row 3); fill them, or leave these rows out: --where 'notna(id)'" in message
    assert read(tmp_path / "t.csv", {"run": "id"}, "notna(id)").run.tolist() == ["a"]


# --- names of columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["run,loss,N,loss\na,1,2,3\n", "run;loss; N;loss \na;1;2;3\n"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, content: str) -> None:
    assert "columns 2 and 4 are both called loss; rename or remove" in refusal(tmp_path / "t.csv", content)


def test_two_columns_of_one_name_are_refused_in_parquet(tmp_path: Path) -> None:
    table = pyarrow.table([pyarrow.array([1.0]), pyarrow.array([2.0])], names=["loss", "loss"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="columns 1 and 2 are both called loss"):
        read(tmp_path / "t.parquet", {})


def test_columns_without_a_name(tmp_path: Path) -> None:
    """As `to_csv` writes an index without one."""
    FRAME.to_csv(tmp_path / "t.csv")
    assert read(tmp_path / "t.csv", {}).columns.tolist() == ["Unnamed: 0", "run", "params", "loss"]


# --- Parquet: the index ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "added"),
    [
        (FRAME, {}),
        (FRAME[FRAME.params > 10**9].reset_index(drop=True), {}),
        (FRAME.set_index("run"), {}),
        (FRAME.set_index(["run", "params"]), {}),
        (FRAME.set_index(["run", pd.Index(["x", "y", "z"])]), {"index": ["x", "y", "z"]}),
        (FRAME.rename_axis("step"), {"step": [0, 1, 2]}),
        (FRAME.set_axis(pd.RangeIndex(10, 40, 10, name="step")), {"step": [10, 20, 30]}),
        (FRAME.set_axis(["x", "y", "z"]), {"index": ["x", "y", "z"]}),
        (FRAME.set_index("run", drop=False), {"index": ["a", "b", "c"]}),
    ],
    ids=["plain", "filtered", "run", "two", "half", "range", "stepped", "unnamed", "both"],
)
def test_the_index_of_a_data_frame_is_a_column(
    tmp_path: Path, frame: pd.DataFrame, added: dict[str, list[Any]]
) -> None:
    frame.to_parquet(tmp_path / "t.parquet")
    expected = frame.reset_index(drop="run" in frame.columns)[["run", "params", "loss"]]
    table = read(tmp_path / "t.parquet", {})
    assert set(table.columns) == {"run", "params", "loss", *added}
    pd.testing.assert_frame_equal(table[["run", "params", "loss"]], expected, check_exact=True)
    for name, values in added.items():
        assert table[name].tolist() == values


def test_kinds_of_columns_in_parquet(tmp_path: Path) -> None:
    """Of few bits, with missing cells, of decimals, of categories: numbers and texts."""
    frame = pd.DataFrame(
        {
            "run": pd.Series(["a", "b"], dtype="category"),
            "n": pd.Series([2_000_000_000, 3], dtype="Int64"),
            "gap": pd.Series([1, None], dtype="Int64"),
            "u": pd.Series([4_000_000_000, 3], dtype="uint32"),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet", {"C": "n*n*u", "run": "run"}, where="run != 'x' and n > 0")
    assert table.C.tolist() == [1.6e28, 27.0]
    assert table.run.tolist() == ["a", "b"]
    with pytest.raises(InputError, match="1 of 2 cells of gap are missing"):
        read(tmp_path / "t.parquet", {"C": "gap*2"})
    decimals = pyarrow.table({"loss": pyarrow.array([3, 2], pyarrow.decimal128(9, 3)), "rates": [[1.0], [2.0, 3.0]]})
    pyarrow.parquet.write_table(decimals, tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", {"loss": "loss"}).loss.tolist() == [3.0, 2.0]
    with pytest.raises(InputError, match="of rates in row 2 is not a number"):
        read(tmp_path / "t.parquet", {"lr": "rates"})


# --- names of --map in --where ---------------------------------------------------------------------------------------


def test_a_condition_speaks_of_mapped_names_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("run,tokens,loss\na,0,3\nb,5,2\nc,,1\nd,x,1\n")
    assert read(tmp_path / "t.csv", {"D": "tokens"}, "D > 0").run.tolist() == ["b"]
    assert read(tmp_path / "t.csv", {"D": "2*tokens"}, "D > 0 and tokens < 9").D.tolist() == [10.0]


def test_a_name_that_means_two_amounts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("run,N,loss\na,1,3\nb,2,2\n")
    columns = {"N": "N*1e9"}
    with pytest.raises(InputError, match=r"N is a column of t\.csv and another amount in --map") as refused:
        read(tmp_path / "t.csv", columns, "N > 1")
    assert "such as N_file=N" in str(refused.value)
    assert read(tmp_path / "t.csv", {**columns, "N_file": "N"}, "N_file > 1").N.tolist() == [2e9]
    assert read(tmp_path / "t.csv", columns, "N > 0").N.tolist() == [1e9, 2e9]  # either way
