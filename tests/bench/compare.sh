#!/usr/bin/env bash
# Compares payoutlake with DuckDB and Polars on the same files, checks that the results are equal, and prints tables as
# Markdown. Needs Rust, Python 3 with venv, about 20 GB of disk in $TMPDIR, and a machine that does nothing else.
#
#   tests/bench/compare.sh [--rows 200000] [--rounds 5] [--only ingest,shapes,nights,queries,growth,run]
set -euo pipefail
cd "$(dirname "$0")/../.."
work="${XDG_CACHE_HOME:-$HOME/.cache}/payoutlake/bench"
mkdir -p "$work"
cargo build --locked --release
if [ ! -x "$work/venv/bin/python" ]; then
  python3 -m venv "$work/venv"
fi
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/readers/requirements.txt
rustc --edition 2024 -O -o "$work/generate" tests/bench/generate.rs
exec "$work/venv/bin/python" tests/bench/compare.py \
  --payoutlake "${CARGO_TARGET_DIR:-target}/release/payoutlake" --generate "$work/generate" "$@"
