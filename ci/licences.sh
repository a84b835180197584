#!/usr/bin/env bash
# Every package has a licence that deny.toml allows, and comes from crates.io or this repository.
#
# This is what `cargo deny check licenses sources` checks, without the minutes to compile cargo-deny. If
# cargo-deny is installed, it is run as well. Security advisories are not checked: they are in a database that
# changes daily, and `cargo deny check advisories` fetches it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. ci/lib/report.sh

allowed=$(sed -n '/^allow = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' deny.toml | jq -R . | jq -s .)

# An SPDX expression is true if the allowed licences satisfy it. AND binds stronger than OR.
satisfies='
    def conjunctions: gsub("F AND [TF]|T AND F"; "F") | gsub("T AND T"; "T");
    def groups: gsub("\\((?<group>[TF]( OR [TF])*)\\)"; if .group | test("T") then "T" else "F" end);
    def value:
        (conjunctions | groups) as $next
        | if $next != . then $next | value
          elif test("^[TF]( OR [TF])*$") then test("T")
          else error("not understood: \(.)") end;
    def allowed_by($allowed):
        gsub(" */ *"; " OR ")
        | gsub("(?<id>[A-Za-z0-9.+-]+( WITH [A-Za-z0-9.+-]+)?)";
            .id as $id
            | if $id == "OR" or $id == "AND" then $id
              elif $allowed | index([$id]) then "T" else "F" end)
        | value;
'
packages() {
    cargo metadata --locked --format-version 1
}

the_expressions_are_understood() {
    jq -n -e --argjson allowed '["A", "B"]' "$satisfies"'
        [
            ["A", true], ["C", false], ["A OR C", true], ["C/A", true], ["C / A", true], ["A AND B", true], ["A AND C", false],
            ["C OR A AND B", true], ["A OR C AND C", true], ["(A OR C) AND C", false],
            ["A OR B AND (C)", true], ["(C OR A) AND (B)", true], ["A WITH X", false], ["A WITH X OR B", true]
        ] | map(.[0] as $text | ($text | allowed_by($allowed)) == .[1]) | all' >/dev/null
}

each_licence_is_allowed() {
    local refused
    [ "$(jq length <<<"$allowed")" -gt 0 ] || { echo "deny.toml allows nothing"; return 1; }
    refused=$(packages | jq -r --argjson allowed "$allowed" "$satisfies"'
        .packages[]
        | select((.license // "") == "" or (.license | allowed_by($allowed) | not))
        | "\(.name) \(.version): \(.license // "none stated")"') || { echo "$refused"; return 1; }
    [ -z "$refused" ] || { echo "$refused"; return 1; }
}

each_source_is_known() {
    local strange
    strange=$(packages | jq -r '
        .packages[]
        | select(.source != null and .source != "registry+https://github.com/rust-lang/crates.io-index")
        | "\(.name) \(.version): \(.source)"')
    [ -z "$strange" ] || { echo "$strange"; return 1; }
}

our_own_texts_are_there() {
    grep -q 'Permission is hereby granted' LICENSE-MIT && grep -q 'TERMS AND CONDITIONS' LICENSE-APACHE
}

check "licence expressions are understood" the_expressions_are_understood
check "each licence is allowed" each_licence_is_allowed
check "each package comes from crates.io or from here" each_source_is_known
check "our own licences are here" our_own_texts_are_there
if command -v cargo-deny >/dev/null; then
    check "cargo deny agrees" cargo deny --offline check licenses bans sources
else
    echo "not checked: cargo-deny is not installed here"
fi
report
