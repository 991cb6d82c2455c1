"""Every format gives the same records, nested fields and parts included; what is wrong is one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from harness.core.errors import InputError
from harness.formats.fields import Fields, Place, Record
from harness.formats.reading import read

ROWS = [
    {"id": 0, "meta": {"text": "one", "set": "C4"}},
    {"id": 1, "meta": {"text": "two\nlines", "set": "Book"}},
    {"id": 2, "meta": {"text": "three", "set": "Github"}},
    {"id": 3, "meta": {"text": "vier", "set": "C4"}},
]
NESTED = Fields("meta.text", parts=((("meta.set", ("C4",)),), (("meta.set", ("Book", "Wikipedia")),)))
EXPECTED = [Record(1, "one", 0), Record(2, "two\nlines", 1), Record(3, "", None), Record(4, "vier", 0)]
FORMATS = [
    "jsonl",
    "jsonl.zst",
    "jsonl.gz",
    "json",
    "json.gz",
    "lines.json.gz",
    "parquet",
    "stream.arrow",
    "file.arrow",
]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    content = lines if "jsonl" in path.name or "lines" in path.name else json.dumps(rows, indent=1).encode()
    if path.name.endswith(".gz"):
        half = len(content) // 2  # two members, as `cat a.gz b.gz` leaves them
        path.write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    elif path.name.endswith(".zst"):
        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(content)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=3)
    elif path.suffix == ".arrow":
        table = pyarrow.Table.from_pylist(rows)
        new = pyarrow.ipc.new_stream if "stream" in path.name else pyarrow.ipc.new_file
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    else:
        path.write_bytes(content)
    return path


def records(path: Path, fields: Fields) -> list[Record]:
    return list(read(path, Place("corpus.mine.files", path, 1000, fields)))


def refusal(path: Path, fields: Fields) -> str:
    with pytest.raises(InputError) as caught:
        records(path, fields)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_nested_text_and_parts_in_one_pass(tmp_path: Path, name: str) -> None:
    assert records(write(tmp_path / f"a.{name}", ROWS), NESTED) == EXPECTED


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "stream.arrow"])
def test_a_column_whose_real_name_has_a_dot_wins(tmp_path: Path, name: str) -> None:
    row: dict[str, object] = {"meta": {"text": "inside"}, "meta.text": "itself", "a.b": {"c.d": "deep"}}
    path = write(tmp_path / name, [row])
    assert records(path, Fields("meta.text")) == [Record(1, "itself", 0)]
    assert records(path, Fields("a.b.c.d")) == [Record(1, "deep", 0)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a.parquet", "file.arrow"])
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (Fields("meta.body"), "text=meta.body: "),
        (Fields("meta.text", parts=((("meta.source", ("C4",)),),)), "where=meta.source: "),
        (Fields("text.meta"), "text=text.meta: "),
    ],
)
def test_a_field_that_is_not_there_names_those_that_are(tmp_path: Path, name: str, fields: Fields, told: str) -> None:
    message = refusal(write(tmp_path / name, ROWS), fields)
    assert message.startswith(told)
    assert message.endswith("name one of its columns: id, meta.text, meta.set")


def test_a_field_missing_in_one_record_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*ROWS, {"id": 4, "meta": {"set": "C4"}}])
    assert "line 5 of " in refusal(path, NESTED)
    left_out: list[dict[str, object]] = [*ROWS, {"id": 4, "meta": {"set": "Github"}}]
    assert len(records(write(path, left_out), NESTED)) == 5, "the text of what belongs to no part is not asked for"


@pytest.mark.parametrize(("value", "same"), [(3, "3"), (True, "true"), (None, "null"), (2.5, "2.5")])
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_parts_are_picked_by_values_that_are_no_texts(tmp_path: Path, name: str, value: object, same: str) -> None:
    path = write(tmp_path / name, [{"text": "a", "kind": value}])
    assert [r.part for r in records(path, Fields("text", parts=((("kind", ("x",)),), (("kind", (same,)),))))] == [1]


def test_a_value_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "a", "kind": ["x"]}])
    assert "line 1: kind is a list, not a value to filter by" in refusal(path, Fields(parts=((("kind", ("x",)),),)))


def test_csv_has_fields_and_txt_has_none(tmp_path: Path) -> None:
    fields = Fields("text", parts=((("set", ("b",)),),))
    (tmp_path / "a.csv").write_text("set,text\na,one\nb,two\n")
    assert records(tmp_path / "a.csv", fields) == [Record(2, "", None), Record(3, "two", 0)]
    (tmp_path / "a.txt").write_text("one\n")
    assert "no fields to filter by" in refusal(tmp_path / "a.txt", fields)


def test_text_in_gzip(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert records(tmp_path / "a.txt.gz", Fields()) == [Record(1, "one\ntwo\n", 0)]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.txt.gz", "a.arrow", "file.arrow", "a.jsonl.zst"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    if name == "a.txt.gz":
        path.write_bytes(gzip.compress(b"one two three"))
    else:
        write(path, ROWS * 100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3] if damage == "cut" else b"plain text, not packed\n" * 20)
    message = refusal(path, NESTED if name != "a.txt.gz" else Fields())
    assert message.startswith("corpus.mine.files=")


def test_a_text_called_gz_and_gz_called_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert "is gzip, not what .jsonl says; unpack it" in refusal(tmp_path / "a.jsonl", Fields())
    (tmp_path / "a.jsonl.gz").write_bytes(b"PAR1" + b"\0" * 20 + b"PAR1")
    assert "is Parquet, not what .jsonl.gz says; call it .parquet" in refusal(tmp_path / "a.jsonl.gz", Fields())


def test_a_saved_dataset_is_read_as_its_state_says(tmp_path: Path) -> None:
    from harness.texts.local import local_documents

    data = datasets.Dataset.from_list(ROWS).select([2, 0, 1])
    datasets.DatasetDict(train=data, test=data.select([0])).save_to_disk(tmp_path / "saved", num_shards={"train": 2})
    write(tmp_path / "saved" / "train" / "cache-file.arrow", ROWS)  # `map` leaves such
    found = [d.text for d in local_documents(tmp_path / "saved" / "train", "upstream", "meta.text")]
    assert found == ["three", "one", "two\nlines"]
    with pytest.raises(
        InputError, match=r"^upstream=.*saved: .*several splits \(train, test\); name one of them: .*train$"
    ):
        list(local_documents(tmp_path / "saved", "upstream", "meta.text"))
    (tmp_path / "saved" / "train" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match=r"data-00001-of-00002\.arrow: missing, state\.json beside it names it"):
        list(local_documents(tmp_path / "saved" / "train", "upstream", "meta.text"))
