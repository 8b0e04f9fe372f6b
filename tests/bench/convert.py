"""The plain conversion that payoutlake is compared with: CSV to typed Parquet, zstd, partitioned by earning month.

    convert.py duckdb|polars CSV FOLDER

Types, partitions and compression are those of payoutlake's table; nothing is checked, counted or refused.
"""

import sys

MONEY = """earningAmount earningAmountInLastPaymentCurrency earningAmountUSD instantRebateAmount storeFee taxRemitted
    transactionAmount transactionAmountUSD""".split()
DECIMALS = ["earningRate", "quantity"]
RATES = ["earningExchangeRate", "transactionExchangeRate"]
TIMES = ["calculationDate", "earningDate", "transactionDate"]
DATES = """agreementEndDate agreementStartDate exchangeRateDate invoiceDate purchaseOrderCoverageEndDate
    purchaseOrderCoverageStartDate subscriptionEndDate subscriptionStartDate""".split()


def duckdb(source, folder):
    import duckdb

    types = (
        dict.fromkeys(MONEY + DECIMALS, "DECIMAL(38, 10)")
        | dict.fromkeys(RATES, "DECIMAL(38, 20)")
        | dict.fromkeys(TIMES, "TIMESTAMPTZ")
        | dict.fromkeys(DATES, "DATE")
    )
    with open(source, encoding="utf-8-sig") as file:
        columns = {name: types.get(name, "VARCHAR") for name in file.readline().strip().split(",")}
    listed = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    lake = duckdb.connect()
    lake.execute("SET TimeZone = 'UTC'")
    lake.execute(
        f"COPY (SELECT *, strftime(earningDate, '%Y-%m') AS earning_month FROM read_csv('{source}', header = true, "
        f"auto_detect = false, delim = ',', quote = '\"', escape = '\"', columns = {{{listed}}})) "
        f"TO '{folder}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (earning_month))"
    )


def polars(source, folder):
    import polars as pl

    def typed(name):
        column = pl.col(name)
        if name in MONEY + DECIMALS:
            return column.cast(pl.Decimal(38, 10))
        if name in RATES:
            return column.cast(pl.Decimal(38, 20))
        if name in TIMES:
            return column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
        return column.str.to_date("%Y-%m-%d") if name in DATES else column

    rows = pl.scan_csv(source, infer_schema=False)
    names = rows.collect_schema().names()
    rows = rows.select(typed(name) for name in names)
    rows = rows.with_columns(pl.col("earningDate").dt.strftime("%Y-%m").alias("earning_month"))
    rows.sink_parquet(pl.PartitionBy(folder, key="earning_month", include_key=False), compression="zstd", mkdir=True)


if __name__ == "__main__":
    {"duckdb": duckdb, "polars": polars}[sys.argv[1]](*sys.argv[2:])
