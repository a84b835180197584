#!/usr/bin/env bash
# The code needs no newer Rust than the rust-version in Cargo.toml.
#
# If that toolchain is installed, it compiles the workspace: that is the proof. Otherwise three checks
# together find nearly all problems in practice: no package in the lock file requires a newer Rust, the
# resolver keeps it so when the lock file is created anew, and clippy's incompatible_msrv finds no newer part
# of the standard library. A newer feature of the language would not be found.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. ci/lib/report.sh

msrv=$(cargo metadata --no-deps --locked --format-version 1 |
    jq -r '[.packages[] | select(.name == "inflight")][0].rust_version')
[[ $msrv =~ ^1\.[0-9]+ ]] || { echo "Cargo.toml states no rust-version: '$msrv'" >&2; exit 1; }
echo "rust-version: $msrv"

no_package_asks_for_more() {
    local newer
    newer=$(cargo metadata --locked --format-version 1 | jq -r --arg msrv "$msrv" '
        def number: (split(".") | map(tonumber)) + [0, 0] | .[:3];
        .packages[] | select(.rust_version != null and (.rust_version | number) > ($msrv | number))
        | "\(.name) \(.version) asks for Rust \(.rust_version)"')
    [ -z "$newer" ] || { echo "$newer"; return 1; }
}

the_resolver_knows() {
    grep -qE '^resolver = "3"$' Cargo.toml
}

the_lint_is_on() {
    grep -qE '^incompatible_msrv = "(warn|deny)"$' Cargo.toml &&
        cargo clippy --workspace --all-targets --locked -- -D clippy::incompatible_msrv
}

compiles() {
    cargo "+$1" check --workspace --all-targets --locked
}

check "no package in Cargo.lock requires a newer Rust" no_package_asks_for_more
check "the resolver takes rust-version into account" the_resolver_knows
check "clippy finds no newer part of the standard library" the_lint_is_on

# Only if it is installed: nothing is downloaded for this.
toolchain=$(rustup toolchain list 2>/dev/null | awk '{ print $1 }' | grep -E "^${msrv//./\\.}(\.[0-9]+)?(-|$)" | head -n 1)
if [ -n "$toolchain" ]; then
    check "Rust $msrv compiles it" compiles "$toolchain"
else
    echo "not checked: Rust $msrv is not installed here, so it has not compiled this"
fi
report
