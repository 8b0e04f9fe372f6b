"""Runs the comparisons of compare.sh: whole processes, in turn, medians of the rounds, ratios within a round."""

import argparse
import csv
import gzip
import io
import math
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
        shutil.rmtree(self.folder / lake, ignore_errors=True)
        return self.ingest_again(source, [], lake, codes)

    def ingest_again(self, source, more, lake="lake", codes=(0,)):
        ours = [self.options.payoutlake, "ingest", "--dataset", "transaction_history", "--account", "bench"]
        return Used([*ours, "--lake", self.folder / lake, *more, source], codes)

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


def nights(bench):
    """The months again, with 1 % of the rows changed: whole, as the next export has them, and merged by key."""
    first, second = bench.file(bench.options.rows), bench.file(bench.options.rows, "--moved", 10)
    whole = ["--covers", "2023-01..2023-12"]

    def load():
        shutil.rmtree(bench.folder / "lake", ignore_errors=True)
        return bench.ingest_again(first, [*whole, "--extracted-at", "2026-11-01T00:00:00Z"])

    def night(more):
        load()
        return bench.ingest_again(second, [*more, "--extracted-at", "2026-11-02T00:00:00Z"])

    found = bench.rounds(
        {
            "first load": load,
            "the months again, 1 % of the rows changed": lambda: night(whole),
            "the same by key": lambda: night([]),
        }
    )
    lines = [
        [name, *(f"{median(used, what):.2f}" for what in ("wall", "cpu")), f"{median(used, 'memory'):.0f}"]
        + [f"{ratio(used, [found['first load']], 'wall'):.2f}"]
        for name, used in found.items()
    ]
    table([f"{bench.options.rows:,} rows", "wall s", "CPU s", "peak MiB", "wall to first"], lines)


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


def growth(bench):
    """Time and memory from one to 25 times the rows, and the time of a commit behind up to a thousand others."""
    sizes = [bench.options.rows * factor for factor in (1, 5, 25)]
    found = bench.rounds({rows: lambda rows=rows: bench.ingest(bench.file(rows)) for rows in sizes})
    lines = []
    for rows, used in found.items():
        wall = median(used, "wall")
        exponent = math.log(wall / median(found[sizes[0]], "wall")) / math.log(rows / sizes[0]) if lines else 1
        told = [f"{wall:.2f}", f"{median(used, 'cpu'):.2f}", f"{median(used, 'memory'):.0f}"]
        lines.append([f"{rows:,}", *told, f"{exponent:.2f}"])
    table(["rows", "wall s", "CPU s", "peak MiB", "exponent"], lines)

    lake = bench.folder / "commits"
    ours = [bench.options.payoutlake, "ingest", "--dataset", "transaction_history", "--account", "bench"]
    took = []
    for number in range(1020):
        source = bench.file(1, "--seed", number)
        took.append(Used([*ours, "--lake", lake, source]).wall * 1000)
        source.unlink()
    lines = [[f"{first + 1} to {first + 20}", f"{statistics.median(took[first:first + 20]):.0f}"] for first in (0, 100, 1000)]
    table(["commits of one row", "ms, whole process"], lines)


PIPELINE = """
version = 1
account = "bench"
lake = {lake!r}
cleanup = "delete"
source.kind = "partner-center"
source.api = {{ api = "{url}v1.0/", authority = "{url}", poll = {{ first_secs = 0, max_secs = 0 }} }}
wait = {{ max_in_flight = 12 }}
datasets = [{{ name = "transaction_history", months = 36, months_per_export = 3 }}]

[source.auth]
kind = "username-password"
tenant = "1e5a4c10-7d3b-4b8e-9a55-5a6d0c0ffee1"
client_id = "6f1d2c3b-4a59-4e68-8f77-9a8b7c6d5e4f"
username = "payouts.reader@contoso.example"
password = "correct horse+battery&staple"
"""


def run(bench):
    """A whole run of 36 months, 12 exports in flight, and its two halves alone: fetching, and all that comes after."""
    told = []
    for _ in range(bench.options.rounds):
        command = [bench.options.payoutlake, "sandbox", "--months", "36", "--delay-millis", "0"]
        command += ["--rows-per-month", str(bench.options.rows // 36)]
        service = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        try:
            url = service.stdout.readline().split()[-1]
            lake, pipeline = bench.folder / "run", bench.folder / "run.toml"
            shutil.rmtree(lake, ignore_errors=True)
            pipeline.write_text(PIPELINE.format(lake=str(lake), url=url))
            ours = [bench.options.payoutlake, "run", pipeline]
            # The service writes its exports at the first request; only then all three do the same.
            Used(ours)
            shutil.rmtree(lake)
            whole = Used(ours)
            # The same bytes again: nothing is decoded or written.
            fetching = Used(ours)
        finally:
            service.kill()
            service.wait()
        packed = bench.folder / "run.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for number, blob in enumerate(sorted((lake / "_payoutlake/raw").rglob("*"))):
                if blob.is_file():
                    archive.writestr(f"{number}.csv", text_of(blob))
        told.append((whole, fetching, bench.ingest(packed)))
    whole, fetching, rest = zip(*told)
    lines = [
        [name, f"{median(used, 'wall'):.2f}", f"{median(used, 'cpu'):.2f}", f"{median(used, 'memory'):.0f}"]
        for name, used in (("whole run", whole), ("fetching alone", fetching), ("decoding to commit alone", rest))
    ]
    slowest = statistics.median(one.wall / max(two.wall, three.wall) for one, two, three in told)
    table(["", "wall s", "CPU s", "peak MiB"], [*lines, ["whole to the slower half", f"{slowest:.2f}", "", ""]])


def text_of(blob):
    """Of an export, which may be packed."""
    if zipfile.is_zipfile(blob):
        with zipfile.ZipFile(blob) as archive:
            return b"".join(archive.read(name) for name in archive.namelist())
    read = blob.read_bytes()
    return gzip.decompress(read) if read[:2] == b"\x1f\x8b" else read


WORKS = {"ingest": ingest, "shapes": shapes, "nights": nights, "queries": queries, "growth": growth, "run": run}


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
