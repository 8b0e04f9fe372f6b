"""Every cell of every file of `files.py`, looked for in the published folders of a lake with DuckDB.

    check.py LAKE      prints how many cells were compared, and the first that differ
"""

import datetime as dt
import json
import sys
from decimal import Decimal

import duckdb

from files import eras, file_name, rows, targets

lake = sys.argv[1]
compared, wrong = 0, []
for at, era in enumerate(eras()):
    if era["dataset"] is None:
        continue
    source = file_name(era, at)
    header = [name for name, _ in era["columns"]]
    rows_of = f"read_parquet('{lake}/{era['dataset']}/**/*.parquet', hive_partitioning = true, union_by_name = true)"
    # As microseconds: DuckDB wants another package to make Python's times with a zone.
    cells_of = ", ".join(
        f'epoch_us("{name}") AS "{name}"' if kind == "TIMESTAMP WITH TIME ZONE" else f'"{name}"'
        for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM {rows_of}").fetchall()
    )
    table = duckdb.sql(
        f"SELECT {cells_of} FROM {rows_of} WHERE _pc_source_file LIKE '{source}%' ORDER BY _pc_source_line"
    )
    names, lines = table.columns, table.fetchall()
    expected = list(rows(era))
    if len(lines) != len(expected):
        wrong.append(f"{source}: {len(lines)} rows instead of {len(expected)}")
        continue
    for line, cells in zip(lines, expected):
        found = dict(zip(names, line))
        extra = json.loads(found["_pc_extra"] or "{}")
        filled = set()
        for (name, kind), (printed, meant) in zip(era["columns"], cells):
            places = targets(name, header)
            seen = [found[place] for place in places] or [extra.get(name)]
            filled.update(places)
            for value in seen:
                compared += 1
                if kind == "timestamp" and value is not None:
                    value = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=value)
                if value != meant or isinstance(value, float) or isinstance(meant, Decimal) != isinstance(value, Decimal):
                    wrong.append(f"{source} line {found['_pc_source_line']} {name}: {printed!r} became {value!r}")
        # What the file does not have is null.
        ours = {"account", *(name for name in names if name.startswith("_pc_") or name.endswith("_month"))}
        wrong.extend(f"{source}: {name} from nowhere" for name in names if name not in filled | ours and found[name] is not None)
        if found["_pc_schema_version"] != era["version"]:
            wrong.append(f"{source}: version {found['_pc_schema_version']} instead of {era['version']}")
print(json.dumps({"cells": compared, "wrong": wrong[:20]}))
