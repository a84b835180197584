#!/usr/bin/env bash
# Benches that do not run any more are found when they are needed, which is too late: so each criterion
# bench makes one trial run, and the report runs at its smallest size, with all its checks. No time is
# judged.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

status=0
cargo test --release --locked --no-fail-fast -p inflight-benches --lib --bins --tests || status=1
cargo bench --locked -p inflight-benches --benches -- --test || status=1
exit $status
