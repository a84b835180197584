#!/usr/bin/env bash
# The tests and doc tests of all packages except the service, whose tests are in ci/server.sh; and the
# documentation of all packages, without a warning.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

status=0
cargo test --workspace --exclude inflight-server --locked --no-fail-fast || status=1
# The features that are not on by default.
cargo test -p inflight-client --features tls --test tls --locked || status=1
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked || status=1
exit $status
