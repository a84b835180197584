#!/usr/bin/env bash
# All proofs of race freedom, in full; ci/test.sh runs a part of them. See proofs/README.md for what each can
# and cannot find.
#
#     ci/proofs.sh
set -uo pipefail
cd "$(dirname "$0")/.." || exit

verdicts= failed=0
run() { # COMMAND...
    local since=$SECONDS verdict=ok
    printf '\n==== %s\n' "$*"
    "$@" || { verdict=FAILED; failed=$((failed + 1)); }
    verdicts+=$(printf '%-24s %-7s %5d s' "$*" "$verdict" $((SECONDS - since)))$'\n'
}
run ci/loom.sh full
run ci/budget.sh
run ci/shuttle.sh full
run ci/histories.sh full
run ci/tsan.sh full
printf '\n==== verdict\n%s' "$verdicts"
echo "$failed failed"
[ "$failed" -eq 0 ]
