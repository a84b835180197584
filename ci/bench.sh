#!/usr/bin/env bash
# Each criterion bench makes one trial run, and the report runs at its smallest size, with all its checks, so
# that a bench that no longer runs is found before it is needed. Times are not judged.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

status=0
cargo test --release --locked --no-fail-fast -p inflight-benches --lib --bins --tests || status=1
cargo bench --locked -p inflight-benches --benches -- --test || status=1
exit $status
