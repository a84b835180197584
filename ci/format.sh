#!/usr/bin/env bash
# rustfmt leaves every file as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
