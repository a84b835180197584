#!/usr/bin/env bash
# rustfmt changes no file.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
