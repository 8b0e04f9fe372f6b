"""Runs the comparisons of compare.sh: whole processes, in turn, medians of the rounds, ratios within a round."""

import argparse
import csv
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from decimal import Decimal, InvalidOperation
from pathlib import Path

HERE = Path(__file__).parent
MONEY = {
    "earningAmount": "earning_amount",
    "earningAmountInLastPaymentCurrency": "earning_amount_in_last_payment_currency",
    "earningAmountUSD": "earning_amount_usd",
    "storeFee": "store_fee",
    "taxRemitted": "tax_remitted",
    "transactionAmount": "transaction_amount",
    "transactionAmountUSD": "transaction_amount_usd",
}


class Used:
    """What one process took: seconds of wall and processors, MiB of memory at its peak."""

    def __init__(self, command, codes=(0,)):
        began = time.perf_counter()
        with tempfile.TemporaryFile() as told:
            process = subprocess.Popen([str(part) for part in command], stdout=told, stderr=told)
            _, status, used = os.wait4(process.pid, 0)
            self.wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode not in codes:
                told.seek(0)
                sys.exit(f"{command}\n{told.read().decode()}\nexit code {process.returncode}")
        self.cpu = used.ru_utime + used.ru_stime
        self.memory = used.ru_maxrss / 1024


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="payoutlake-bench-"))

    def file(self, rows, *more):
        """A file of the reference shape, made once."""
        path = self.folder / ("-".join([str(rows), *map(str, more)]).replace("--", "") + ".csv")
        if not path.exists():
            with open(path, "wb") as out:
                subprocess.run([self.options.generate, str(rows), *map(str, more)], stdout=out, check=True)
        return path

    def ingest(self, source, lake="lake", codes=(0,)):
        lake = self.folder / lake
        shutil.rmtree(lake, ignore_errors=True)
        ours = [self.options.payoutlake, "ingest", "--dataset", "transaction_history", "--account", "bench"]
        return Used([*ours, "--lake", lake, source], codes)

    def convert(self, engine, source):
        folder = self.folder / engine
        shutil.rmtree(folder, ignore_errors=True)
        return Used([sys.executable, HERE / "convert.py", engine, source, folder])

    def rounds(self, works):
        """Each work in turn, so that what else the machine does meets all of them."""
        found = {name: [] for name in works}
        for _ in range(self.options.rounds):
            for name, work in works.items():
                found[name].append(work())
        return found


def median(used, what):
    return statistics.median(getattr(one, what) for one in used)


def ratio(ours, others, what):
    """Ours to the best of the others, round by round."""
    pairs = zip(ours, *others)
    return statistics.median(getattr(pair[0], what) / min(getattr(o, what) for o in pair[1:]) for pair in pairs)


def table(head, lines):
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print(flush=True)


def sums(folder, names):
    """Rows and exact sums by month, as text. In a process of its own: what this one holds in memory would count as its children's."""
    chosen = ", ".join(f'sum("{name}")' for name in names)
    rows = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
    query = f"SELECT earning_month, count(*), {chosen} FROM {rows} GROUP BY 1 ORDER BY 1"
    program = "import duckdb, sys; print(duckdb.sql(sys.argv[1]).fetchall())"
    return subprocess.run([sys.executable, "-c", program, query], capture_output=True, check=True).stdout


def ingest(bench):
    """The main comparison."""
    for rows in (bench.options.rows, 5 * bench.options.rows):
        source = bench.file(rows)
        found = bench.rounds(
            {
                "payoutlake": lambda: bench.ingest(source),
                "DuckDB": lambda: bench.convert("duckdb", source),
                "Polars": lambda: bench.convert("polars", source),
            }
        )
        ours = sums(bench.folder / "lake/transaction_history", MONEY.values())
        for other in ("duckdb", "polars"):
            assert ours == sums(bench.folder / other, MONEY), f"{other} has other sums"
        print(f"{rows:,} rows, {source.stat().st_size / 1e6:.0f} MB of CSV; equal rows and sums by month\n")
        lines = [
            [name, *(f"{median(used, what):.{digits}f}" for what, digits in (("wall", 2), ("cpu", 2), ("memory", 0)))]
            for name, used in found.items()
        ]
        others = [found["DuckDB"], found["Polars"]]
        best = [f"{ratio(found['payoutlake'], others, what):.2f}" for what in ("wall", "cpu", "memory")]
        table(["", "wall s", "CPU s", "peak MiB"], [*lines, ["payoutlake to the better of both", *best]])


def shapes(bench):
    """What a file may be like, against the plain one."""
    rows = bench.options.rows
    plain, dirty, long = bench.file(rows), bench.file(rows, "--bad", 10), bench.file(rows, "--months", 36)
    packed = plain.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, plain.name)
    found = bench.rounds(
        {
            "plain": lambda: bench.ingest(plain),
            "1 % of the rows have a bad cell": lambda: bench.ingest(dirty, codes=(3,)),
            "36 months": lambda: bench.ingest(long),
            "zip": lambda: bench.ingest(packed),
        }
    )
    lines = [
        [name, *(f"{median(used, what):.2f}" for what in ("wall", "cpu")), f"{median(used, 'memory'):.0f}"]
        + [f"{ratio(used, [found['plain']], 'wall'):.2f}"]
        for name, used in found.items()
    ]
    table([f"{rows:,} rows", "wall s", "CPU s", "peak MiB", "wall to plain"], lines)


# What DuckDB does in a process of its own, and how long that takes beside starting the process.
ASK_DUCKDB = """
import csv, duckdb, sys, time
began = time.perf_counter()
lake = duckdb.connect()
lake.execute("SET TimeZone = 'UTC'")
rows = f"read_parquet('{sys.argv[1]}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
lake.execute(f"CREATE VIEW transaction_history AS SELECT * FROM {rows}")
found = lake.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({open(sys.argv[2]).read()})").fetchall()
print(time.perf_counter() - began, file=sys.stderr)
csv.writer(sys.stdout).writerows(found)
"""


def values(text, skip):
    """The cells of a result, numbers and times in one spelling."""

    def value(cell):
        try:
            return Decimal(cell).normalize()
        except InvalidOperation:
            return cell.replace("T", " ").replace("+00", "").removesuffix("Z")

    return [[value(cell) for cell in row] for row in csv.reader(io.StringIO(text))][skip:]


def queries(bench):
    """What finance asks, over the same files: whole processes, and what DuckDB takes once it is started."""
    bench.ingest(bench.file(bench.options.rows))
    lake = bench.folder / "lake"
    lines = []
    for query in sorted((HERE / "queries").glob("*.sql")):
        ours, theirs, alone = [], [], []
        for _ in range(bench.options.rounds):
            ask = [bench.options.payoutlake, "sql", "--lake", lake, "--format", "csv", "--file", query]
            began = time.perf_counter()
            told = subprocess.run(ask, capture_output=True, text=True, check=True)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            ask = [sys.executable, "-c", ASK_DUCKDB, lake / "transaction_history", query]
            other = subprocess.run(ask, capture_output=True, text=True, check=True)
            theirs.append(time.perf_counter() - began)
            alone.append(float(other.stderr))
            assert values(told.stdout, 1) == values(other.stdout, 0), f"{query.name}: DuckDB says something else"
        medians = [statistics.median(times) for times in (ours, theirs, alone)]
        lines.append([query.stem, *(f"{seconds * 1000:.0f}" for seconds in medians)])
    print(f"Queries over {bench.options.rows:,} rows, ms; equal results\n")
    table(["query", "payoutlake", "DuckDB", "DuckDB once started"], lines)


WORKS = {"ingest": ingest, "shapes": shapes, "queries": queries}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payoutlake", type=Path, required=True)
    parser.add_argument("--generate", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(WORKS))
    bench = Bench(parser.parse_args())
    try:
        for name in bench.options.only.split(","):
            WORKS[name](bench)
    finally:
        shutil.rmtree(bench.folder)


if __name__ == "__main__":
    main()
