#!/usr/bin/env bash
# The whole store under shuttle: scenarios of a few threads, each under many schedules, at random and by PCT.
# A failure prints the command that repeats it.
#
#     ci/shuttle.sh                               100,000 schedules: about 10 s, and 40 s for the build
#     ci/shuttle.sh full                          2,000,000, with other seeds than the share for CI
#     ci/shuttle.sh only NAME SCHEDULES SEED      of one scenario
#     ci/shuttle.sh seed NAME random|pct SEED     one batch again
#     ci/shuttle.sh replay NAME SCHEDULE          one schedule again
set -uo pipefail
cd "$(dirname "$0")/.." || exit

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/shuttle
RUSTFLAGS="${RUSTFLAGS-} --cfg inflight_shuttle" \
    cargo build --locked --release --package inflight-proofs --bin shuttle || exit
case ${1-} in
'') set -- 100000 1 ;;
full) set -- 2000000 1000000 ;;
esac
"$CARGO_TARGET_DIR/release/shuttle" "$@"
status=$?
case $1 in
seed | replay) ;;
*) [ $status -eq 0 ] && echo "checks: 1 passed, 0 failed" || echo "checks: 0 passed, 1 failed" ;;
esac
exit $status
