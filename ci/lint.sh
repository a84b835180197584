#!/usr/bin/env bash
# Clippy without a warning, and the rules of this repository that a grep can check.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. ci/lib/report.sh

sources() { # all of the repository's Rust, with a zero byte after each name
    find . -name target -prune -o -name '*.rs' -type f -print0
}
clippy() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
}

# Only src/sync/ names atomics and the model checker, so that a model can replace all of them.
names='(std|core)::sync::atomic|\bsync::\{[^}]*\batomic|\bloom::'
only_sync_names_atomics() {
    local found
    grep -rqE "$names" src/sync || { echo "the pattern does not even match src/sync/"; return 1; }
    found=$(grep -rnE --include='*.rs' "$names" src | grep -v '^src/sync/')
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

# The folders of src/, highest first. A file uses its own folder and those below it, its unit tests included;
# lib.rs re-exports.
folders='guide store task engine index record cell model sync'
folders_use_only_those_below() {
    local wrong
    wrong=$(awk -v list="$folders" '
        BEGIN { count = split(list, order, " "); for (i = 1; i <= count; i++) floor[order[i]] = i }
        FNR == 1 {
            own = FILENAME; sub(/^src\//, "", own)
            if (own == "lib.rs") { skip = 1 } else { skip = !sub(/\/.*$/, "", own) || !(own in floor) }
            if (skip && FILENAME != "src/lib.rs") print FILENAME ": is in no folder of the list"
            seen[own] = 1
        }
        skip || /^ *\/\// { next }
        {
            rest = $0
            if (rest ~ /crate::\{|crate::[A-Z]|super::super/) print FILENAME ":" FNR ": name the folder: crate::folder::…"
            while (match(rest, /crate::[a-z_]+/)) {
                used = substr(rest, RSTART + 7, RLENGTH - 7); rest = substr(rest, RSTART + RLENGTH)
                if (!(used in floor)) print FILENAME ":" FNR ": uses crate::" used ", which is no folder"
                else if (floor[used] < floor[own]) print FILENAME ":" FNR ": reaches up to " used "/"
            }
        }
        END { for (name in floor) if (!(name in seen)) print "there is no folder src/" name }
    ' $(find src -name '*.rs'))
    [ -z "$wrong" ] || { echo "$wrong"; return 1; }
}

documents_name_what_is_there() {
    local missing
    missing=$(grep -noE '`(src|ci|docs|examples|tests)/[^`* ]*`' ./*.md docs/*.md src/guide/*.md | tr -d '`' |
        while IFS=: read -r document line path; do
            [ -e "$path" ] || echo "$document:$line: there is no $path"
        done
        # The targets of links: in README.md from here, in links.md from the rendered page.
        sed -nE 's|^\[(.+)\]: (\.\./)*([^:]*)$|\1 \3|p' README.md src/guide/links.md | while read -r name path; do
            [ -e "${path##* }" ] || echo "[$name] leads to $path, which is not there"
        done)
    [ -z "$missing" ] || { echo "$missing"; return 1; }
}

partners_are_named() {
    ci/partners.py
}

readme_begins_with_one_screen() { # above its first heading
    local heading
    heading=$(grep -nm1 '^## ' README.md | cut -d: -f1)
    [ "${heading:-999}" -le 60 ] || { echo "the first heading of README.md is on line $heading"; return 1; }
}

scripts_parse() {
    local script
    for script in .ci/run ci/*.sh ci/lib/*.sh; do
        bash -n "$script" || return 1
    done
}

check "clippy has no warning" clippy
check "only src/sync/ names atomics" only_sync_names_atomics
check "no test is switched off" no_test_is_switched_off
check "no source file is over 600 lines" files_are_short
check "each folder of src/ uses only those below it" folders_use_only_those_below
check "comments on atomic operations name functions that do one" partners_are_named
check "files that the documents name are there" documents_name_what_is_there
check "README.md begins with one screen" readme_begins_with_one_screen
check "the scripts parse" scripts_parse
report
