#!/usr/bin/env bash
# Tests the counting of the results: each job's output is counted right, and no failure is lost.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. ci/lib/report.sh

counts() { # "PASSED FAILED" LOG
    local found
    found=$(count_results <(printf '%b' "$2"))
    [ "$found" = "$1" ] || { echo "in '$2' it counts $found, not $1"; return 1; }
}
fails() { # COMMAND...: succeeds if the command fails
    ! "$@"
}
a_report() { # COMMAND...: the last line of a report on one check
    (
        checks_passed=0 checks_failed=0
        check "this" "$@" >/dev/null
        report
    )
}
says() { # LINE COMMAND...
    local line=$1 found
    shift
    found=$("$@")
    [ "$found" = "$line" ] || { echo "it says '$found', not '$line'"; return 1; }
}

good='test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n'
bad='test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n'
ignored='test result: ok. 5 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s\n'
check "tests that pass are counted" counts "12 0" "$good"
check "results of several programs add up" counts "19 2" "running 9 tests\n$good\nerror: test failed\n$bad"
check "a test that is ignored has failed" counts "5 3" "$ignored"
check "colours do not matter" counts "12 0" "${good/ok/\\x1b[32mok\\x1b[m}"
check "checks that are not Rust's are counted" counts "3 1" "ok this\nchecks: 3 passed, 1 failed\n"
check "other output is not counted" counts "0 0" "test this ... ok\nall 5 passed, honestly\n"
check "a check that succeeds is one passed" says "checks: 1 passed, 0 failed" a_report true
check "a check that fails is one failed" says "checks: 0 passed, 1 failed" a_report false
check "a report with a failure exits with a failure" fails a_report false
check "an unknown job is refused" fails ci/test.sh no-such-job
report
