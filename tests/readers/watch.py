"""Reads a published folder again and again, as a report does that globs it, until a file appears or nobody is there
to read the answers. By turns it reads the objects that `payoutlake lake files` names. A Delta table is read by its log.

    watch.py FOLDER STOP_FILE PAYOUTLAKE LAKE

Prints one JSON line for each look: "glob", "delta" or "objects", and month -> [rows, ids, sum], or {"error": text}.
"""

import json
import os
import subprocess
import sys
import time

import deltalake
import duckdb

folder, stop, payoutlake, lake = sys.argv[1:]
SELECT = "SELECT strftime(earning_date, '%Y-%m'), count(*), count(DISTINCT earning_id), sum(earning_amount) FROM"


def look(source, **tables):
    try:
        # A connection of its own: nothing is remembered from the look before.
        connection = duckdb.connect()
        for name, table in tables.items():
            connection.register(name, table())
        rows = connection.execute(f"{SELECT} {source} GROUP BY ALL").fetchall()
        return {month: [rows, ids, str(amount)] for month, rows, ids, amount in rows}
    except (duckdb.Error, deltalake.exceptions.DeltaError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def delta():
    return deltalake.DeltaTable(folder).to_pyarrow_table(columns=["earning_date", "earning_id", "earning_amount"])


def objects():
    listed = [payoutlake, "lake", "files", "--lake", lake, "--table", "transaction_history"]
    files = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
    return f"read_parquet({files})"


parent = os.getppid()
number = 0
while not os.path.exists(stop) and os.getppid() == parent:
    if os.path.exists(f"{folder}/_delta_log"):
        print(json.dumps(["delta", look("seen", seen=delta)]))
    else:
        print(json.dumps(["glob", look(f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)")]))
    if number % 5 == 0:
        print(json.dumps(["objects", look(objects())]))
    sys.stdout.flush()
    number += 1
    # Enough looks, and time left for who writes.
    time.sleep(0.05)
