"""Some columns of a Delta table at each of its versions, read by deltalake: a list for each version, sorted, with a list for each
row. Columns that a version does not have are left out.

    columns.py TABLE COLUMN...
    columns.py TABLE --append-only      gives the table a property, as somebody else might
"""

import json
import os
import sys

import deltalake

table, *columns = sys.argv[1:]
if columns == ["--append-only"]:
    deltalake.DeltaTable(table).alter.set_table_properties({"delta.appendOnly": "true"})
    print("null")
    sys.exit()
versions = []
for version in range(deltalake.DeltaTable(table).version() + 1):
    there = deltalake.DeltaTable(table, version=version).to_pyarrow_table()
    there = there.select([column for column in columns if column in there.column_names])
    versions.append(sorted([list(row.values()) for row in there.to_pylist()], key=str))
print(json.dumps(versions))
sys.stdout.flush()
os._exit(0)
