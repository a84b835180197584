#!/usr/bin/env bash
# What the hot calls cost, in figures that do not depend on the machine's load: how many operations on shared
# memory each does (exactly as in proofs/budgets.txt), and how many instructions it takes under callgrind (at
# most 10 % more than in proofs/instructions.txt).
#
#     ci/budget.sh            compares; the whole of it, about 30 s with the builds on 2 cores
#     ci/budget.sh record     writes both tables as they are now
set -uo pipefail
cd "$(dirname "$0")/.." || exit

target=${CARGO_TARGET_DIR:-target}
operations() {
    RUSTFLAGS="${RUSTFLAGS-} --cfg inflight_budget" CARGO_TARGET_DIR=$target/budget \
        cargo test --locked --package inflight-proofs --test budget
}
instructions() {
    "$target/release/instructions" "$target/release/probes" "$@"
}

cargo build --locked --release --package inflight-proofs --bin probes --bin instructions || exit
case ${1-} in
record)
    INFLIGHT_RECORD=1 operations && instructions record && git --no-pager diff --stat -- proofs
    ;;
'')
    status=0
    operations || status=1
    if instructions; then
        echo "checks: 1 passed, 0 failed"
    else
        echo "checks: 0 passed, 1 failed"
        status=1
    fi
    exit $status
    ;;
*)
    echo "usage: ci/budget.sh [record]" >&2
    exit 2
    ;;
esac
