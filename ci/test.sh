#!/usr/bin/env bash
# Runs everything that decides whether the repository is in order, and ends with one line:
#
#     N passed, M failed
#
# Counted are the tests and checks that the jobs report, and each job itself: a job that does not even
# get as far as its first test is one failure. A failing job does not keep the others from running.
# Leaves with 0 only if nothing failed.
#
#     ci/test.sh              all jobs
#     ci/test.sh lint unit    only these
#     ci/test.sh --list       what there is
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# One line a job: its name, which is the script ci/NAME.sh, and what it is for.
jobs=$(cat <<'END'
harness     what the jobs print is counted right
format      rustfmt leaves every file as it is
lint        clippy and the rules of the house, without a warning
licences    every dependency has a licence that deny.toml allows
msrv        nothing newer than the rust-version that Cargo.toml states
job         the main job of README.md, on a tree made for it and on a real one
loom        the models of the store's races are complete, and would notice a weaker ordering
watch       the example that follows work through `watch` ends by itself, in a terminal or not
budget      no hot call does more to shared memory, or takes more instructions, than is recorded
shuttle     scenarios of the whole store under 100,000 schedules
histories   what real threads are answered is linearizable
tsan        ThreadSanitizer has nothing to report
bench       the benches and the report run, at their smallest, and their checks hold
unit        the tests and doc tests of all other packages; the documentation builds without a warning
server      the service's tests, and requests made up from the OpenAPI document that it serves
browser     the dashboard in headless Chromium, which it installs where it is missing
END
)

# What the jobs need beside Rust: a command by which it is seen, and the Debian packages that bring it.
needs='
cc   gcc libc6-dev
jq   jq
valgrind valgrind libc6-dbg
'

. ci/lib/report.sh

# Where Rust's installer puts it, for shells that have not been told.
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

names=$(awk 'NF { print $1 }' <<<"$jobs")
if [ "${1-}" = --list ]; then
    printf '%s' "$jobs" | awk NF
    exit
fi
for name in "$@"; do
    grep -qx -- "$name" <<<"$names" || { echo "there is no job $name; ci/test.sh --list says what there is" >&2; exit 2; }
done

# How long a job may take, in seconds: one that hangs has failed.
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
    # A job whose tests failed is not in order, whatever it says itself.
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
