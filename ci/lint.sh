#!/usr/bin/env bash
# Clippy without a warning, and the rules of the house that a grep can see.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. ci/lib/report.sh

sources() { # all of the repository's Rust, with a zero byte after each name
    find . -name target -prune -o -name '*.rs' -type f -print0
}
clippy() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
}

# Only src/sync.rs, and what stands in for it in src/sync/, names atomics and the model checker: so a model
# stands in for all of them.
names='(std|core)::sync::atomic|\bsync::\{[^}]*\batomic|\bloom::'
only_sync_names_atomics() {
    local found
    grep -qE "$names" src/sync.rs || { echo "the pattern does not even match src/sync.rs"; return 1; }
    found=$(grep -rnE --include='*.rs' "$names" src | grep -vE '^src/sync(\.rs|/[a-z]+\.rs):')
    [ -z "$found" ] || { echo "$found"; return 1; }
}

no_test_is_switched_off() {
    local found
    found=$(sources | xargs -0 grep -nE '#\[ignore|^\s*//[/!] ```.*\bignore\b')
    [ -z "$found" ] || { echo "$found"; return 1; }
}

files_are_short() {
    local long
    long=$(sources | xargs -0 wc -l | awk '$2 != "total" && $1 > 600')
    [ -z "$long" ] || { echo "over 600 lines:"; echo "$long"; return 1; }
}

# Each file of src/ uses only those on its own floor and below, as DESIGN.md lists them, highest first; but
# for this, and for what its tests use.
reaching_up='engine>keeper'
floors_are_kept() {
    local wrong
    wrong=$(awk -v up="$reaching_up" '
        BEGIN { n = split(up, list, " "); for (i = 1; i <= n; i++) allowed[list[i]] = 1 }
        FILENAME == "DESIGN.md" {
            if (/^## /) house = ($0 == "## The house")
            if (house && /\.rs|^cell\//) {
                floors++
                for (i = 1; i <= NF && $i ~ /(\.rs|\/)$/; i++) { name = $i; sub(/(\.rs|\/)$/, "", name); floor[name] = floors }
            }
            next
        }
        FNR == 1 {
            file = FILENAME; sub(/^src\//, "", file); sub(/(\/.*|\.rs)$/, "", file); tests = 0
            skip = file == "lib" || file == "budget"
            if (!skip && !(file in floor)) { print FILENAME " is on no floor"; skip = 1 }
        }
        /^#\[cfg\((all\()?test/ { tests = 1 }
        skip || tests || /^ *\/\// { next }
        {
            rest = $0
            while (match(rest, /crate::[a-z_]+/)) {
                used = substr(rest, RSTART + 7, RLENGTH - 7); rest = substr(rest, RSTART + RLENGTH)
                if (used in floor && floor[used] < floor[file] && !(file ">" used in allowed))
                    print FILENAME ":" FNR ": reaches up to " used
            }
        }
    ' DESIGN.md $(find src -name '*.rs'))
    [ -z "$wrong" ] || { echo "$wrong"; return 1; }
}

documents_name_what_is_there() {
    local missing
    missing=$(grep -noE '`(src|ci|examples|tests)/[^`* ]*`' ./*.md | tr -d '`' |
        while IFS=: read -r document line path; do
            [ -e "$path" ] || echo "$document:$line: there is no $path"
        done)
    [ -z "$missing" ] || { echo "$missing"; return 1; }
}

scripts_parse() {
    local script
    for script in .ci/run ci/*.sh ci/lib/*.sh; do
        bash -n "$script" || return 1
    done
}

check "clippy has nothing to say" clippy
check "only sync.rs and sync/ name atomics" only_sync_names_atomics
check "no test is switched off" no_test_is_switched_off
check "no source file is over 600 lines" files_are_short
check "the floors of DESIGN.md are kept" floors_are_kept
check "files that the documents name are there" documents_name_what_is_there
check "the scripts parse" scripts_parse
report
