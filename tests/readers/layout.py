"""How one published file is laid out, as DuckDB and pyarrow see it.

    layout.py FILE SORT_COLUMN... -- LOOKUP_COLUMN...

Prints one JSON object.
"""

import json
import sys

import duckdb
import pyarrow.compute
import pyarrow.parquet

file, *rest = sys.argv[1:]
sort, lookup = rest[: rest.index("--")], rest[rest.index("--") + 1 :]

metadata = duckdb.execute("SELECT * FROM parquet_metadata(?)", [file])
names = [column[0] for column in metadata.description]
chunks = [dict(zip(names, row)) for row in metadata.fetchall()]
columns = {}
for chunk in chunks:
    columns[chunk["path_in_schema"]] = {
        "compression": chunk["compression"],
        "encodings": chunk["encodings"],
        "dictionary": chunk["dictionary_page_offset"] is not None,
        "values": chunk["num_values"],
        "nulls": chunk["stats_null_count"],
        "min": chunk["stats_min_value"],
        "max": chunk["stats_max_value"],
        "bloom_bytes": chunk["bloom_filter_length"],
    }
footer = duckdb.execute("SELECT key, value FROM parquet_kv_metadata(?)", [file]).fetchall()

read = pyarrow.parquet.ParquetFile(file)
groups = [read.metadata.row_group(number) for number in range(read.metadata.num_row_groups)]
for group in groups:
    for number in range(group.num_columns):
        chunk = group.column(number)
        columns[chunk.path_in_schema]["column_index"] = chunk.has_column_index
        columns[chunk.path_in_schema]["offset_index"] = chunk.has_offset_index


def ascends(number):
    """Whether the rows of a row group really stand in the order of the sort columns, NULL first."""
    rows = read.read_row_group(number, columns=sort).to_pylist()
    keys = [[(row[name] is not None, row[name]) if row[name] is not None else (False,) for name in sort] for row in rows]
    return keys == sorted(keys)


def missing(column):
    """Of how many row groups the bloom filter says that a value cannot be there: one that is, and one that is not."""
    there = read.read(columns=[column])[column].drop_null()
    probe = "SELECT count(*) FILTER (bloom_filter_excludes) FROM parquet_bloom_probe(?, ?, ?)"
    excluded = lambda value: duckdb.execute(probe, [file, column, value]).fetchone()[0]
    return {"there": excluded(there[0].as_py()) if len(there) else 0, "not there": excluded("no row has this")}


print(
    json.dumps(
        {
            "rows": read.metadata.num_rows,
            "groups": len(groups),
            "columns": columns,
            "footer": {bytes(key).decode(): bytes(value).decode() for key, value in footer},
            "sorting": [[names_of.column_index for names_of in group.sorting_columns] for group in groups],
            "order": [read.schema_arrow.names.index(name) for name in sort],
            "ascends": [ascends(number) for number in range(len(groups))],
            "bloom": {column: missing(column) for column in lookup},
        },
        default=str,
    )
)
