#!/usr/bin/env bash
# Runs all checks of the repository, and ends with one line:
#
#     N passed, M failed
#
# It counts the tests and checks that the jobs report, and each job itself: a job that fails before its first
# test is one failure. A failing job does not stop the others. Exits with 0 only if nothing failed.
#
#     ci/test.sh              all jobs
#     ci/test.sh lint unit    only these
#     ci/test.sh --list       what there is
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# One line per job: its name, which is the script ci/NAME.sh, and its purpose.
jobs=$(cat <<'END'
harness     the output of the jobs is counted right
format      rustfmt changes no file
lint        clippy and the rules of this repository, without a warning
licences    every dependency has a licence that deny.toml allows
msrv        the code needs no newer Rust than the rust-version in Cargo.toml
job         the main example of README.md, on a generated tree and on a real one
loom        the models of the store's races are complete, and fail with a weaker ordering
watch       the example of `watch` ends by itself, in a terminal and without one
budget      no hot call does more to shared memory, or takes more instructions, than is recorded
shuttle     scenarios of the whole store under 100,000 schedules
histories   the replies to real threads are linearizable
tsan        ThreadSanitizer has nothing to report
bench       the benches and the report run at their smallest size, and their checks hold
unit        the tests and doc tests of all other packages; the documentation builds without a warning
server      the service's tests, and requests generated from the OpenAPI document that it serves
browser     the dashboard in headless Chromium, which is installed if it is missing
END
)

# What the jobs need besides Rust: a command, and the Debian packages that contain it.
needs='
cc   gcc libc6-dev
jq   jq
valgrind valgrind libc6-dbg
'

. ci/lib/report.sh

# The directory of Rust's installer, for shells without it in their PATH.
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

names=$(awk 'NF { print $1 }' <<<"$jobs")
if [ "${1-}" = --list ]; then
    printf '%s' "$jobs" | awk NF
    exit
fi
for name in "$@"; do
    grep -qx -- "$name" <<<"$names" || { echo "there is no job $name; ci/test.sh --list prints the jobs" >&2; exit 2; }
done

# How long a job may take, in seconds: a job that hangs has failed.
limit=1500

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 verdicts=

run() { # NAME COMMAND...: one job
    local name=$1 since=$SECONDS verdict=ok p f
    shift
    printf '\n==== %s\n' "$name"
    timeout --kill-after=30 "$limit" "$@" 2>&1 | tee "$log" || verdict=FAILED
    [ $((SECONDS - since)) -lt "$limit" ] || echo "stopped after $limit s"
    read -r p f < <(count_results "$log")
    # A job with failed tests has failed, whatever it reports itself.
    [ "$f" -eq 0 ] || verdict=FAILED
    if [ "$verdict" = ok ]; then p=$((p + 1)); else f=$((f + 1)); fi
    passed=$((passed + p)) failed=$((failed + f))
    verdicts+=$(printf '%-10s %-7s %5d passed %3d failed  %4d s' "$name" "$verdict" "$p" "$f" $((SECONDS - since)))$'\n'
}

run setup ci/setup.sh "$needs"
# shellcheck disable=SC2086 # One word a name.
[ $# -gt 0 ] || set -- $names
for name in "$@"; do
    run "$name" "ci/$name.sh"
done

printf '\n==== verdict\n%s' "$verdicts"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
