"""Reads a published folder again and again, as a report does that globs it, until a file appears
or nobody is there to read the answers.

    watch.py FOLDER STOP_FILE

Prints one JSON line for each look: month -> [rows, sum], or {"error": text}.
"""

import json
import os
import sys
import time

import duckdb

folder, stop = sys.argv[1:]
query = (
    "SELECT earning_month, count(*), count(DISTINCT earning_id), sum(earning_amount)"
    f" FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true) GROUP BY ALL"
)
parent = os.getppid()
while not os.path.exists(stop) and os.getppid() == parent:
    try:
        # A connection of its own: nothing is remembered from the look before.
        rows = duckdb.connect().execute(query).fetchall()
        look = {month: [rows, ids, str(amount)] for month, rows, ids, amount in rows}
    except Exception as error:
        look = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(look), flush=True)
    # Enough looks, and time left for who writes.
    time.sleep(0.05)
