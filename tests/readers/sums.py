"""Rows and sums of a published folder, read by DuckDB, pyarrow and Polars, one after the other.

    sums.py FOLDER MONTH_COLUMN COLUMN:CURRENCY_COLUMN...

Prints one JSON object: reader -> sorted lines `column,month,currency,rows,sum`. A fixed currency is written `=USD`.
Sums are decimals: a reader that makes a float of one is seen by its text.
"""

import json
import sys
from decimal import Decimal

import duckdb
import polars
import pyarrow.compute
import pyarrow.dataset

folder, month, *money = sys.argv[1:]
money = [column.split(":") for column in money]


def of_duckdb(column, currency):
    rows = duckdb.sql(
        f"SELECT {month}, {currency}, count(*), sum({column})"
        f" FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
        f" WHERE {column} IS NOT NULL GROUP BY ALL"
    )
    return rows.fetchall()


def of_pyarrow(column, currency):
    table = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
    table = table.filter(pyarrow.compute.is_valid(table[column]))
    found = table.group_by([month, currency]).aggregate([(column, "count"), (column, "sum")])
    return [tuple(row[name] for name in (month, currency, f"{column}_count", f"{column}_sum")) for row in found.to_pylist()]


def of_polars(column, currency):
    table = polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
    table = table.filter(polars.col(column).is_not_null()).group_by(month, currency)
    return table.agg(polars.len(), polars.col(column).sum().alias("sum")).collect().rows()


def lines(reader):
    for column, currency in money:
        fixed = currency.startswith("=")
        sums = {}
        # A fixed currency has no column: the account serves to group by, and is forgotten.
        for at, code, rows, amount in reader(column, "account" if fixed else currency):
            assert isinstance(amount, Decimal), f"{column}: {amount!r} is no decimal"
            key = (column, at or "none", currency[1:] if fixed else code or "")
            count, total = sums.get(key, (0, Decimal(0)))
            sums[key] = (count + rows, total + amount)
        for key, (rows, amount) in sums.items():
            yield ",".join([*key, str(rows), f"{amount:.10f}"])


readers = {"duckdb": of_duckdb, "pyarrow": of_pyarrow, "polars": of_polars}
print(json.dumps({name: sorted(lines(reader)) for name, reader in readers.items()}))
