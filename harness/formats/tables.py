"""Formats that are tables: Parquet, and Arrow as `datasets.save_to_disk` writes it; nested columns are fields, too.

Beneath `harness.formats.reading`. Read in batches of a few rows, so that memory stays flat whatever the row groups are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.formats.fields import Place, Record, column_of, splits

_BATCH_BYTES = 1 << 26  # of the columns of Parquet that are read, at once


def parquet_rows(file: Path, place: Place) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            paths = _paths(opened.schema_arrow, place)
            groups = opened.metadata
            size = int(sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups)))
            rows = max(1, min(256, _BATCH_BYTES * int(groups.num_rows) // max(1, size)))  # fewer where they are long
            columns = [".".join(path) for path in paths.values()]
            yield from _rows(opened.iter_batches(batch_size=rows, columns=columns), paths, place)
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise place.error(f"not a valid parquet file ({error})") from None


def arrow_rows(file: Path, place: Place) -> Iterator[Record]:
    """Both of Arrow's forms, the stream (which `datasets` writes) and the file; memory-mapped."""
    import pyarrow
    import pyarrow.ipc

    try:
        with pyarrow.memory_map(str(file)) as source:
            if source.read(6) == b"ARROW1":
                reader = pyarrow.ipc.open_file(source)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                source.seek(0)
                reader = batches = pyarrow.ipc.open_stream(source)
            yield from _rows(batches, _paths(reader.schema, place), place)
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise place.error(f"not a valid Arrow file ({error})") from None


def _rows(batches: Any, paths: dict[str, tuple[str, ...]], place: Place) -> Iterator[Record]:
    row = 0
    for batch in batches:
        columns = {field: _column(batch, path) for field, path in paths.items()}
        for at in range(batch.num_rows):
            row += 1

            def get(field: str, at: int = at, columns: dict[str, Any] = columns) -> object:
                return columns[field][at].as_py()

            try:
                record = place.record(row, get, f"row {row}")
            except UnicodeDecodeError as error:
                raise place.error(f"invalid UTF-8 in row {row} ({error.reason})") from None
            yield record


def _column(batch: Any, path: tuple[str, ...]) -> Any:
    import pyarrow.compute

    top = batch.column(batch.schema.get_field_index(path[0]))
    return pyarrow.compute.struct_field(top, list(path[1:])) if len(path) > 1 else top


def _paths(schema: Any, place: Place) -> dict[str, tuple[str, ...]]:
    """Where each field lies: the names of the columns inside each other. Raises InputError unless the text is text."""
    import pyarrow

    found = {}
    for field in place.fields.all:
        path, kind = _path(schema, field, place)
        found[field] = path
        value = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
        texts = (pyarrow.string(), pyarrow.large_string(), pyarrow.string_view())
        if field == place.fields.text and value not in texts:
            raise place.error(
                f"column {field} holds {kind}, not text", f"name a column of strings: {place.text_key}=NAME"
            )
    return found


def _path(schema: Any, field: str, place: Place) -> tuple[tuple[str, ...], Any]:
    """Names and type of a field in a schema."""
    import pyarrow

    if field not in schema.names:
        for head, rest in splits(field):
            if head in schema.names and pyarrow.types.is_struct(kind := schema.field(head).type):
                names = [kind.field(i).name for i in range(kind.num_fields)]
                if rest in names or any(outer in names for outer, _ in splits(rest)):
                    inner, inner_kind = _path(pyarrow.schema(list(kind)), rest, place)
                    return (column_of(place, schema.names, head), *inner), inner_kind
        raise place.missing(field, [name for column in schema for name in _below(column)])
    return (column_of(place, schema.names, field),), schema.field(field).type


def _below(column: Any) -> list[str]:
    import pyarrow

    if not pyarrow.types.is_struct(column.type):
        return [column.name]
    return [f"{column.name}.{column.type.field(i).name}" for i in range(column.type.num_fields)]
