#!/usr/bin/env bash
# The tests and doc tests of all packages, and their documentation without a warning.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

status=0
cargo test --workspace --locked --no-fail-fast || status=1
# What is not on by default.
cargo test -p inflight-client --features tls --test tls --locked || status=1
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked || status=1
exit $status
