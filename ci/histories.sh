#!/usr/bin/env bash
# Linearizability: the calls of real threads and the replies are recorded, and checked against the sequential
# specification of a task.
#
#     ci/histories.sh              2,000 histories: about 5 s, and 15 s for the build
#     ci/histories.sh full         40,000 histories of 4.6 million calls: one to two minutes
#     ci/histories.sh N SEED       that many
set -uo pipefail
cd "$(dirname "$0")/.." || exit

target=${CARGO_TARGET_DIR:-target}
cargo build --locked --release --package inflight-histories --bin histories || exit
case ${1-} in
'') set -- 2000 1 ;;
full) set -- 40000 1000000 ;;
esac
"$target/release/histories" "$@"
status=$?
[ $status -eq 0 ] && echo "checks: 1 passed, 0 failed" || echo "checks: 0 passed, 1 failed"
exit $status
