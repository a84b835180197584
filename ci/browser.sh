#!/usr/bin/env bash
# The dashboard in headless Chromium: it is live, filters, is used by keyboard, cancels, asks for tokens,
# stays safe with hostile data, is readable in both colour schemes and on a phone, and stays smooth with
# 100,000 tasks. Debian's Chromium and ChromeDriver are installed if they are missing. Screenshots go to
# $INFLIGHT_SCREENSHOTS, by default a folder among the temporary files.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

ci/setup.sh '
chromium       chromium
chromedriver   chromium-driver
' || exit

export INFLIGHT_SCREENSHOTS=${INFLIGHT_SCREENSHOTS:-${TMPDIR:-/tmp}/inflight-screenshots}
status=0
# The lint of the workspace does not see tests that are turned off.
cargo clippy -p inflight-browser-tests --all-targets --features browser --locked -- -D warnings || status=1
# Two browsers at a time. The test with 100,000 tasks runs alone, and prints how smooth it was.
RUST_TEST_THREADS=2 cargo test -p inflight-browser-tests --features browser --locked --no-fail-fast \
    --test access --test dashboard --test gallery --test modules || status=1
cargo test -p inflight-browser-tests --features browser --locked --test many -- --nocapture || status=1
echo "screenshots: $INFLIGHT_SCREENSHOTS"
exit $status
