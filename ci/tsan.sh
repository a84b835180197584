#!/usr/bin/env bash
# ThreadSanitizer with the stable compiler: it must report nothing, and nothing is suppressed.
#
# This uses an unstable option of the compiler; nothing is downloaded. The standard library is the usual one,
# not built for the sanitizer, so the checked binary uses each of its locks in one thread only.
#
#     ci/tsan.sh            5 s, and 30 s for the build
#     ci/tsan.sh full       60 s
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. ci/lib/report.sh

case ${1-} in
'') seconds=5 ;;
full) seconds=60 ;;
*) echo "usage: ci/tsan.sh [full]" >&2; exit 2 ;;
esac
host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
*) echo "there is no ThreadSanitizer for $host here; nothing was checked" >&2; exit 1 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
export RUSTC_BOOTSTRAP=1 TSAN_OPTIONS="exitcode=66 halt_on_error=0"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/tsan

# A sanitizer that does not work reports nothing, either. So it must report a known race first.
a_planted_race_is_reported() {
    cat >"$work/race.rs" <<'RUST'
static mut COUNT: u64 = 0;
fn main() {
    let add = || (0..100_000).for_each(|_| unsafe { COUNT = std::hint::black_box(COUNT) + 1 });
    let threads = [std::thread::spawn(add), std::thread::spawn(add)];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
RUST
    # shellcheck disable=SC2086 # One word a flag.
    rustc --edition 2024 -O $flags -o "$work/race" "$work/race.rs" || return
    local code=0 output
    output=$("$work/race" 2>&1) || code=$?
    [ "$code" -eq 66 ] && grep -q 'WARNING: ThreadSanitizer: data race' <<<"$output" || { echo "$output"; return 1; }
}

RUSTFLAGS="${RUSTFLAGS-} $flags" \
    cargo build --locked --release --package inflight-proofs --bin races --target "$host" || exit
no_race_is_reported() {
    local code=0
    "$CARGO_TARGET_DIR/$host/release/races" "$seconds" >"$work/out" 2>&1 || code=$?
    grep -q ThreadSanitizer "$work/out" && code=66
    [ "$code" -eq 0 ] || { cat "$work/out"; return 1; }
}
check "a planted race is reported" a_planted_race_is_reported
check "the store has none" no_race_is_reported
cat "$work/out"
report
