#!/usr/bin/env bash
# Installs what the jobs need: ci/setup.sh 'COMMAND PACKAGE...', one command a line. Missing Debian packages
# are installed, if the user may do that; for Rust's own parts there is only a check.
set -euo pipefail

missing=()
while read -r command packages; do
    [ -n "$command" ] || continue
    # Several words on purpose.
    # shellcheck disable=SC2206
    command -v "$command" >/dev/null || missing+=($packages)
done <<<"${1-}"

if [ ${#missing[@]} -gt 0 ]; then
    echo "missing: ${missing[*]}; installing these Debian packages"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "not root, and there is no sudo: install them by hand" >&2; exit 1; }
        as_root=sudo
    fi
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

for part in rustc cargo rustfmt cargo-clippy; do
    command -v "$part" >/dev/null || { echo "$part is missing; it comes with Rust's default profile" >&2; exit 1; }
done
rustc --version
cargo --version
cargo clippy --version
cargo fmt --version
cargo fetch --locked --quiet
