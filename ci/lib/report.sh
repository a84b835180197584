# shellcheck shell=bash
# Reads the results out of the output of a job. Sourced.
#
# Two forms count: the line that Rust's test harness ends each test program with,
#
#     test result: ok. 12 passed; 0 failed; 0 ignored; ...
#
# and for checks that are not written in Rust the line
#
#     checks: 12 passed, 0 failed

# count_results LOG: prints "PASSED FAILED", the sums over all such lines.
count_results() {
    # Colours are removed first. An ignored test is never run, so it counts as failed.
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
        $1 == "test" && $2 == "result:" {
            passed += $4; failed += $6 + $8
        }
        $1 == "checks:" { passed += $2; failed += $4 }
        END { print passed + 0, failed + 0 }'
}

# For a job made of checks: check WHAT COMMAND... runs the command and records its result; report ends the
# job. The output of a failing command is shown.
checks_passed=0 checks_failed=0
check() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        checks_passed=$((checks_passed + 1))
        echo "ok      $what"
    else
        checks_failed=$((checks_failed + 1))
        echo "FAILED  $what"
        printf '%s\n' "$output" | sed 's/^/        /'
    fi
}
report() {
    echo "checks: $checks_passed passed, $checks_failed failed"
    [ "$checks_failed" -eq 0 ]
}
