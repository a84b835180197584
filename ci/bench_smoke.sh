#!/bin/sh
# Benches that do not run any more are found when they are needed, which is too late: so each criterion
# bench makes one trial run, and the report runs at its smallest size, with all checks. No time is judged.
set -eu
cd "$(dirname "$0")/.."
cargo test --release --locked -p inflight-benches --lib --bins --tests
cargo bench --locked -p inflight-benches --benches -- --test
