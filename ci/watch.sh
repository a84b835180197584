#!/usr/bin/env bash
# The example that follows a piece of work: it ends by itself, both in a terminal and without one.
set -uo pipefail
cd "$(dirname "$0")/.."
. ci/lib/report.sh

cargo build --release --locked --example watch || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out

watch() { cargo run --quiet --release --locked --example watch -- "$@"; }
into_a_file() { timeout 300 cargo run --quiet --release --locked --example watch -- "$@" >"$out"; }
in_a_terminal() { timeout 300 script -qec "cargo run --quiet --release --locked --example watch -- '$1'" "$out" >/dev/null </dev/null; }
into_a_closed_pipe() { watch "$1" | true; [ "${PIPESTATUS[0]}" -eq 0 ]; }
exits_with() { # CODE COMMAND...
    local expected=$1 code=0
    shift
    "$@" || code=$?
    [ "$code" -eq "$expected" ] || { echo "exit code: expected $expected, found $code"; return 1; }
}
has_seen() { # FILES BYTES: as the last line says
    tail -n 1 "$out" | grep -q "^summary: state=succeeded files=$1 bytes=$2 unreadable=0 " || { tail -n 3 "$out"; return 1; }
}
is_plain_and_short() { # no control characters; a line for each tenth and state, and the summary
    ! grep -q '[[:cntrl:]]' "$out" && [ "$(wc -l <"$out")" -le 15 ] || { cat "$out"; return 1; }
}
is_one_line_that_changes() {
    grep -q $'\r\x1b\\[Ksucceeded 100%' "$out" && grep -q 'summary: state=succeeded' "$out" || { cat -v "$out"; return 1; }
}

mkdir -p "$work/tree/below" "$work/empty"
for i in {1..500}; do head -c 20000 /dev/zero >"$work/tree/below/$i"; done
check "a tree is followed into a file" into_a_file "$work/tree"
check "the whole tree is followed" has_seen 500 10000000
check "the output is plain text, in few lines" is_plain_and_short
cat "$out"
check "a tree is followed in a terminal" in_a_terminal "$work/tree"
check "the output is one line that changes" is_one_line_that_changes
check "its reader may close the pipe" into_a_closed_pipe "$work/tree"
check "an empty directory is accepted" into_a_file "$work/empty"
check "its summary is empty" has_seen 0 0
check "a directory that is not there is refused" exits_with 2 into_a_file "$work/nowhere"
check "two directories are refused" exits_with 2 into_a_file "$work/tree" "$work/empty"
report
