#!/usr/bin/env bash
# Explores the models of the store's races (loom-tests/), and checks that they detect weakened code.
#
#     ci/loom.sh [share]   the part for CI: the large models at two preemptions; each ordering of the store
#                          weakened once more, for the model that is known to fail
#     ci/loom.sh full      all models at three preemptions, which have to come to a million executions;
#                          the mutations of the protocol, too
#
# One line per model: the executions explored, and whether that was all. A model that is truncated, or has a
# single execution, fails.
set -uo pipefail
cd "$(dirname "$0")/.."
. ci/lib/report.sh

case ${1-share} in
    share) models=(--share) verify=() least=100000 ;;
    full) models=() verify=(--mutations) least=1000000 ;;
    *) echo "usage: ci/loom.sh [share|full]" >&2; exit 2 ;;
esac

target=${CARGO_TARGET_DIR:-target}/loom-models
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for_models() { # the models' flags, for the command that follows
    RUSTFLAGS='--cfg inflight_loom' CARGO_TARGET_DIR=$target "$@"
}

built() {
    for_models cargo build --quiet --locked --profile loom -p inflight-loom-tests
}
clippy() { # of the models only: what else is linted in ci/lint.sh
    for_models cargo clippy --quiet --locked --no-deps --profile loom -p inflight-loom-tests -- -D warnings
}
explored() {
    "$target/loom/inflight-loom-tests" "${models[@]}" | tee "$log"
}
enough() { # 40 complete models, and enough executions
    awk -v least="$least" '
        $1 == "total:" { complete = $2; executions = $7 }
        END { print complete + 0, "complete,", executions + 0, "executions"; exit complete < 40 || executions < least }
    ' "$log"
}

check "the models build" built
check "clippy has no warning for them" clippy
since=$SECONDS
explored || true
echo "explored in $((SECONDS - since)) s"
while read -r model outcome; do
    check "$model is explored" [ "$outcome" = complete ]
done < <(awk '$3 == "executions" { print $1, $NF }' "$log") >/dev/null
check "at least 40 models are complete, with at least $least executions" enough
check "loom-tests/WEAKENINGS.md is current" loom-tests/weaken.py check
check "with each weakening in it, the named model fails" loom-tests/weaken.py verify "${verify[@]}"
report
