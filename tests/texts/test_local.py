"""What a user relies on: every format gives the same documents, and whatever is wrong is named in one line."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import json
import lzma
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from harness.core.errors import InputError
from harness.formats import lines
from harness.texts.local import local_documents, read_file

TEXTS = ["A first text.", 'Quotes " and, commas\nand two lines.', "Grüße, 世界 \U0001f600", "  indented\n"]


def write_zstd(path: Path, content: bytes) -> None:
    with pyarrow.output_stream(str(path), compression="zstd") as stream:
        stream.write(content)


def write(path: Path, texts: list[str], column: str = "text") -> Path:
    records = [{"id": number, column: text} for number, text in enumerate(texts)]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if path.name.endswith(".jsonl"):
        path.write_bytes(lines)
    elif path.name.endswith(".jsonl.zst"):
        write_zstd(path, lines)
    elif path.name.endswith(".json"):
        path.write_text(json.dumps(records, indent=1))
    elif path.name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path, row_group_size=2)
    else:
        with path.open("w", newline="") as stream:
            rows = csv.DictWriter(stream, ["id", column])
            rows.writeheader()
            rows.writerows(records)
    return path


def read(path: Path, column: str = "text", field: str = "upstream") -> list[str]:
    return [document.text for document in local_documents(path, field, column)]


def refusal(path: Path, column: str = "text") -> str:
    with pytest.raises(InputError) as caught:
        read(path, column, "downstream")
    assert "\n" not in str(caught.value)
    assert str(path.name) in str(caught.value), "the file is named"
    return str(caught.value)


FORMATS = ["jsonl", "jsonl.zst", "json", "parquet", "csv"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_gives_the_same_documents(tmp_path: Path, suffix: str) -> None:
    assert read(write(tmp_path / f"data.{suffix}", TEXTS)) == TEXTS
    assert read(write(tmp_path / f"other.{suffix}", TEXTS, "body"), "body") == TEXTS


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_column_names_those_there_are(tmp_path: Path, suffix: str) -> None:
    message = refusal(write(tmp_path / f"data.{suffix}", TEXTS), "content")
    assert message.startswith("text=content: ")
    assert message.endswith("name one of its columns: id, text")


@pytest.mark.parametrize("suffix", [*FORMATS, "txt"])
def test_a_file_that_is_not_what_its_suffix_says(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(b"\x00\x01not this format\n" * 10)
    assert refusal(path).startswith(("downstream=", "text="))


def test_a_truncated_zstd_file(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl.zst", TEXTS * 1000)
    path.write_bytes(path.read_bytes()[:-3])
    assert "not a valid zstd file" in refusal(path)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt", "jsonl.zst", "json"])
def test_invalid_utf8_says_where(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.{suffix}"
    content = {
        "csv": b"id,text\n1,fine\n2,\xff\n",
        "txt": b"fine\nfine\n\xff\n",
        "json": b'[{"text": "' + b"x" * 100_000 + b'"}, {"text": "\xff"}]',
    }.get(suffix, b'{"text": "fine"}\n\n{"text": "\xff"}\n')
    write_zstd(path, content) if suffix.endswith("zst") else path.write_bytes(content)
    at = content.index(b"\xff")
    where = f"in byte {at} " if suffix == "json" else f"in line 3, byte {at} "
    assert f"invalid UTF-8 {where}" in refusal(path)


def test_invalid_utf8_in_parquet_names_the_row(tmp_path: Path) -> None:
    broken = pyarrow.array([b"fine", b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": broken}), tmp_path / "data.parquet")
    assert "invalid UTF-8 in row 2" in refusal(tmp_path / "data.parquet")


@pytest.mark.parametrize("value", [None, 3, ["a"]])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_text_must_be_text(tmp_path: Path, suffix: str, value: object) -> None:
    path = tmp_path / f"data.{suffix}"
    if suffix == "parquet":
        rows = pyarrow.array(["fine", None]) if value is None else pyarrow.array([value, value])
        pyarrow.parquet.write_table(pyarrow.table({"text": rows}), path)
    else:
        records = [{"text": "fine"}, {"text": value}]
        path.write_text(json.dumps(records) if suffix == "json" else "\n".join(map(json.dumps, records)))
    message = refusal(path)
    assert "null" in message if value is None else "not text" in message


@pytest.mark.parametrize("content", ['{"text": "a"', "[1, 2]", '"text"', '{"text": "\\ud800"}', "[" * 100_000])
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_json_that_is_not_records_of_text(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"data.{suffix}"
    path.write_text('{"text": "fine"}\n' + content if suffix == "jsonl" else content)
    assert refusal(path).startswith("downstream=")


@pytest.mark.parametrize(
    "content", ['[{"text": "a"} {"text": "b"}]', '[{"text": "a"}', '[{"text": "a"}] x', '[{"text": "a"},']
)
def test_a_damaged_list_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.json").write_text(content)
    assert "JSON" in refusal(tmp_path / "data.json")


def test_a_json_list_is_read_in_parts(tmp_path: Path) -> None:
    texts = [f"{number} " + "x" * (number * 977 % 200_000) for number in range(60)]
    assert read(write(tmp_path / "data.json", texts)) == texts
    (tmp_path / "empty.json").write_text(" [ ] ")
    assert read(tmp_path / "empty.json") == []
    (tmp_path / "records.json").write_text('{"text": "a"}\n{"text": "b"}')
    assert read(tmp_path / "records.json") == ["a", "b"]


def test_csv_with_an_unquoted_comma_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("id,text\n1,fine\n2,not, fine\n")
    assert "line 3 has 3 fields, the header 2" in refusal(tmp_path / "data.csv")


def test_csv_holds_long_texts(tmp_path: Path) -> None:
    long = "word " * 100_000
    assert read(write(tmp_path / "data.csv", [long, "short"])) == [long, "short"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    for suffix in ("jsonl", "json", "csv"):
        path = write(tmp_path / f"data.{suffix}", ["fine"])
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert read(path) == ["fine"]
    (tmp_path / "data.txt").write_bytes(b"\xef\xbb\xbffine")
    assert read(tmp_path / "data.txt") == ["fine"]


def test_a_long_txt_is_cut_at_empty_lines_and_growth_moves_nothing(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {number}. " + "Words and words. " * 40 for number in range(50)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs))
    before = read(path)
    assert "".join(before) == path.read_text()
    assert len(before) > 5
    assert all(len(text) >= 4096 for text in before[:-1])
    path.write_text("\n\n".join([*paragraphs, *paragraphs]))
    assert read(path)[: len(before) - 1] == before[:-1]


def test_a_txt_of_one_endless_line_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LINE_BYTES", 5000)
    text = "é世\U0001f600" * 9000  # two, three and four bytes, so that parts end within characters
    (tmp_path / "line.txt").write_text(text)
    parts = read(tmp_path / "line.txt")
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 10_000


def test_a_folder_is_read_in_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "one.jsonl", ["third"])
    write(tmp_path / "a.parquet", ["first", "second"])
    found = list(local_documents(tmp_path, "upstream", "text"))
    assert [document.text for document in found] == ["first", "second", "third"]
    assert [(document.file, document.line) for document in found] == [
        ("a.parquet", 1),
        ("a.parquet", 2),
        ("b/one.jsonl", 1),
    ]


# --- two columns, other types, other kinds of files ------------------------------------------------------------------


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_of_other_separators_is_named_as_that_and_may_state_it(tmp_path: Path, mark: str) -> None:
    content = f'id{mark}text\n1{mark}left\n2{mark}"right{mark} \n or so"\n'
    (tmp_path / "data.csv").write_text(content)
    remedy = "call it .tsv" if mark == "\t" else f"say so in a first line of its own: sep={mark}"
    assert f"its columns are separated by {mark!r}; {remedy}" in refusal(tmp_path / "data.csv")
    rows = [(2, "left"), (4, f"right{mark} \n or so")]
    (tmp_path / "data.csv").write_text(f"sep={mark}\n{content}")
    assert list(read_file(tmp_path / "data.csv", "downstream", "text")) == [(line + 1, text) for line, text in rows]
    (tmp_path / "more.csv.gz").write_bytes(gzip.compress(f"sep={mark}\r\n{content}".encode()))
    assert [text for _, text in read_file(tmp_path / "more.csv.gz", "downstream", "text")] == [text for _, text in rows]
    if mark == "\t":
        (tmp_path / "data.tsv").write_text(content)
        (tmp_path / "data.tsv.gz").write_bytes(gzip.compress(content.encode()))
        for name in ("data.tsv", "data.tsv.gz"):
            assert list(read_file(tmp_path / name, "downstream", "text")) == rows


def test_two_columns_of_texts_are_refused_and_both_named(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,id,text\nleft,1,right\n")
    assert "columns 1 and 3 are both called text" in refusal(tmp_path / "data.csv")
    twice = pyarrow.table([["left"], ["right"]], names=["text", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "data.parquet")
    assert "columns 1 and 2 are both called text" in refusal(tmp_path / "data.parquet")
    for name, content in (
        ("data.jsonl", '{"text": "a", "te\\u0078t": "b"}'),
        ("data.json", '[{"text": 1, "text": "b"}]'),
    ):
        (tmp_path / name).write_text(content)
        assert "1 has text twice" in refusal(tmp_path / name)
    (tmp_path / "other.jsonl").write_text('{"id": 1, "id": 2, "text": "a", "more": {"text": 1, "text": 2}}')
    assert read(tmp_path / "other.jsonl") == ["a"], "only the texts matter"


TYPES = [
    pyarrow.string_view(),
    pyarrow.large_string(),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.large_string()),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_type_of_text_is_read_from_parquet(tmp_path: Path, kind: pyarrow.DataType) -> None:
    column = pyarrow.array(TEXTS).cast(kind)
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "data.parquet")
    assert read(tmp_path / "data.parquet") == TEXTS


def test_bytes_in_parquet_are_named(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"a"]}), tmp_path / "data.parquet")
    assert "column text holds binary, not text" in refusal(tmp_path / "data.parquet")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt", "parquet", "jsonl.zst"])
@pytest.mark.parametrize(
    ("content", "name", "remedy"),
    [
        (gzip.compress(b'{"text": "a"}\n'), "is gzip", "gzip -d"),
        (bz2.compress(b"some text"), "is bzip2", "bzip2 -d"),
        (lzma.compress(b"some text"), "is xz", "xz -d"),
        (b"PK\x03\x04\x14\x00", "is a zip archive", "unzip"),
        (codecs.BOM_UTF16_LE + "text\nvalue\n".encode("utf-16-le"), "is UTF-16 text", "iconv -f UTF-16"),
        (codecs.BOM_UTF16_BE + "text\nvalue\n".encode("utf-16-be"), "is UTF-16 text", "iconv -f UTF-16"),
        (codecs.BOM_UTF32_LE + "text\nvalue\n".encode("utf-32-le"), "is UTF-32 text", "iconv -f UTF-32"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a pointer of Git LFS", "git lfs pull"),
    ],
    ids=["gzip", "bzip2", "xz", "zip", "utf-16-le", "utf-16-be", "utf-32", "lfs"],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(
    tmp_path: Path, suffix: str, content: bytes, name: str, remedy: str
) -> None:
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(content)
    message = refusal(path)
    assert name in message
    assert remedy in message


def test_zstd_and_parquet_under_other_names(tmp_path: Path) -> None:
    write_zstd(tmp_path / "a.jsonl", b'{"text": "a"}\n')
    assert "is zstd, not what .jsonl says; unpack it: zstd -dc < FILE > OTHER, or call it .jsonl.zst" in refusal(
        tmp_path / "a.jsonl"
    )
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl.zst")
    assert read(tmp_path / "b.jsonl.zst") == ["a"], "the remedy works"
    write(tmp_path / "a.parquet", TEXTS).rename(tmp_path / "a.csv")
    assert "is Parquet, not what .csv says; call it .parquet" in refusal(tmp_path / "a.csv")
    for text in ("PAR1 is how it begins", "BZh as a word"):
        (tmp_path / "a.txt").write_text(text)
        assert read(tmp_path / "a.txt") == [text]


# --- the longest document --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_document_longer_than_allowed_is_refused_with_its_line(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"data.{suffix}", ["short", "x" * 6000])

    def texts(longest: int) -> list[str]:
        return [document.text for document in local_documents(path, "downstream", "text", longest)]

    assert texts(10_000) == ["short", "x" * 6000]
    with pytest.raises(InputError) as caught:
        texts(5000)
    assert str(caught.value).startswith(f"downstream={path}: ")
    assert "is longer than 5,000 bytes; divide it, or allow more: corpus.longest_document=BYTES" in str(caught.value)
    assert {"json": "record 2", "parquet": "row 2", "csv": "line 3"}.get(suffix, "line 2") in str(caught.value)


def test_what_is_too_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A quote that is never closed, a list that is never closed, a line without an end: memory stays bounded."""
    contents = {
        "a.csv": b'id,text\n1,"' + b"word word\n" * 100_000,
        "b.csv": b"id,text\n1," + b"w" * 1_000_000,
        "c.json": b'[{"text": "' + b"w" * 1_000_000,
        "d.jsonl": b'{"text": "' + b"w" * 1_000_000,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        tracemalloc.start()
        where = {"c.json": "record 1", "d.jsonl": "line 1"}.get(name, "line 2")
        with pytest.raises(InputError, match=rf"{where}.* is longer than 20,000 bytes"):
            list(local_documents(tmp_path / name, "upstream", "text", 20_000))
        assert tracemalloc.get_traced_memory()[1] < 700_000
        tracemalloc.stop()
