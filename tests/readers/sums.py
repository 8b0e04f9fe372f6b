"""Rows and sums of a published folder, read by DuckDB, pyarrow, Polars and Spark, one after the other; of a Delta table by
deltalake and Polars, and its live files by Spark.

    sums.py FOLDER MONTH_COLUMN COLUMN:CURRENCY_COLUMN... [--spark]

Prints one JSON object: reader -> sorted lines `column,month,currency,rows,sum`. A fixed currency is written `=USD`.
Sums are decimals: a reader that makes a float of one is seen by its text. Types are looked at as well.
"""

import json
import os
import sys
from decimal import Decimal

import deltalake
import duckdb
import polars
import pyarrow.compute
import pyarrow.dataset
import pyspark.sql

with_spark = "--spark" in sys.argv
folder, month, *money = [argument for argument in sys.argv[1:] if argument != "--spark"]
money = [column.split(":") for column in money]


def of_duckdb(column, currency):
    rows = duckdb.sql(
        f"SELECT {month}, {currency}, count(*), sum({column})"
        f" FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
        f" WHERE {column} IS NOT NULL GROUP BY ALL"
    )
    return rows.fetchall()


def of_pyarrow(column, currency):
    return of_arrow(pyarrow.dataset.dataset(folder, partitioning="hive").to_table(), column, currency)


def of_deltalake(column, currency):
    return of_arrow(deltalake.DeltaTable(folder).to_pyarrow_table(), column, currency)


def of_arrow(table, column, currency):
    table = table.filter(pyarrow.compute.is_valid(table[column]))
    found = table.group_by([month, currency]).aggregate([(column, "count"), (column, "sum")])
    return [tuple(row[name] for name in (month, currency, f"{column}_count", f"{column}_sum")) for row in found.to_pylist()]


def of_polars(column, currency):
    table = polars.scan_delta(folder) if is_delta else polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
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


def spark():
    builder = pyspark.sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    # 2026-09 is a text, and no first day of a month.
    builder = builder.config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    # Spark has no zone of its own: times are those of UTC.
    session = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    if is_delta:
        # Its reader of Delta logs is no part of PySpark: here it reads the files that the log names.
        return session.read.option("basePath", folder).parquet(*deltalake.DeltaTable(folder).file_uris())
    return session.read.parquet(folder)


def of_spark(column, currency):
    table = spark()
    table = table.filter(table[column].isNotNull()).groupBy(month, currency)
    functions = pyspark.sql.functions
    return [tuple(row) for row in table.agg(functions.count("*"), functions.sum(column)).collect()]


def types_of_duckdb():
    rows = duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)").fetchall()
    return {row[0]: row[1] for row in rows}


def types_of_arrow(schema):
    return {field.name: str(field.type) for field in schema}


def types_of_polars():
    table = polars.scan_delta(folder) if is_delta else polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
    return {name: str(kind) for name, kind in table.collect_schema().items()}


# What readers call a type, and what it is.
TYPES = {
    "DECIMAL(38,10)": "decimal", "decimal128(38, 10)": "decimal", "Decimal(precision=38, scale=10)": "decimal",
    "decimal(38,10)": "decimal",
    "TIMESTAMP WITH TIME ZONE": "timestamp in UTC", "timestamp[us, tz=UTC]": "timestamp in UTC",
    "Datetime(time_unit='us', time_zone='UTC')": "timestamp in UTC", "timestamp": "timestamp in UTC",
    "DATE": "date", "date32[day]": "date", "Date": "date", "date": "date",
    "VARCHAR": "string", "string": "string", "String": "string",
    "dictionary<values=string, indices=int32, ordered=0>": "string",
}


def check(reader, types):
    found = {column: TYPES.get(types[column], types[column]) for column in (month, "account", *(column for column, _ in money))}
    dates = {column: TYPES.get(kind, kind) for column, kind in types.items() if column.endswith("_date")}
    assert found == {month: "string", "account": "string", **{column: "decimal" for column, _ in money}}, (reader, found)
    assert set(dates.values()) <= {"date", "timestamp in UTC"}, (reader, dates)


is_delta = os.path.exists(f"{folder}/_delta_log")
if is_delta:
    readers = {"deltalake": of_deltalake, "polars": of_polars}
    check("deltalake", types_of_arrow(pyarrow.schema(deltalake.DeltaTable(folder).schema().to_arrow())))
    check("polars", types_of_polars())
else:
    readers = {"duckdb": of_duckdb, "pyarrow": of_pyarrow, "polars": of_polars}
    check("duckdb", types_of_duckdb())
    check("pyarrow", types_of_arrow(pyarrow.dataset.dataset(folder, partitioning="hive").schema))
    check("polars", types_of_polars())
if with_spark:
    readers["spark"] = of_spark
    check("spark", dict(spark().dtypes))
print(json.dumps({name: sorted(lines(reader)) for name, reader in readers.items()}))
