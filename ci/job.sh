#!/usr/bin/env bash
# The store's main use, as README.md shows it: on a generated tree whose content is known, on a real one, and
# on arguments that must be refused.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. ci/lib/report.sh

cargo build --release --locked --example hash_tree || exit 1
work=$(mktemp -d)
trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT

# ---- the trees ----------------------------------------------------------------------------------------

# 20,000 files from empty to 300 KB, special files, and files with unusual names.
grow() { # DIR
    mkdir -p "$1/empty" "$1"/{0..99}
    awk -v dir="$1" 'BEGIN {
        line = "all work and no play makes a dull tree\n"
        while (length(long) < 300000) long = long line
        for (i = 0; i < 20000; i++) {
            file = dir "/" i % 100 "/" i
            size = i % 1000 == 7 ? 65536 * (i / 1000 % 5) : i * i % 9973
            printf "%s", substr(long, 1, size) > file
            close(file)
        }
    }'
    echo odd >"$1/new
line"
    echo odd >"$1/back\\slash"
    echo odd >"$1/"$'\xff\xfe'
    ln -s nowhere "$1/dangling"
    ln -s .. "$1/loop"
    mkfifo "$1/pipe"
}

# ---- the checks ---------------------------------------------------------------------------------------

field() { # NAME FILE: a number of the summary line, which is the last line
    sed -n '$s/^summary:.* '"$1"'=\([0-9]*\).*$/\1/p' "$2"
}
is_last_line_the_summary() {
    tail -n 1 "$1" | grep -qE '^summary: files=[0-9]+ bytes=[0-9]+ polls=[0-9]+ torn=[0-9]+ regressions=[0-9]+$' ||
        { tail -n 1 "$1"; return 1; }
}
is_equal() { # WHAT EXPECTED FOUND
    [ -n "$3" ] && [ "$2" = "$3" ] || { echo "$1: expected $2, found $3"; return 1; }
}
has_files_and_bytes() { # OUT FILES BYTES
    is_equal files "$2" "$(field files "$1")" && is_equal bytes "$3" "$(field bytes "$1")"
}
is_faultless() { # OUT
    is_equal torn 0 "$(field torn "$1")" && is_equal regressions 0 "$(field regressions "$1")" &&
        { [ "$(field polls "$1")" -gt 0 ] || { echo "there were no polls"; return 1; }; }
}
exits_with() { # CODE COMMAND...
    local expected=$1 code=0
    shift
    "$@" || code=$?
    is_equal "exit code" "$expected" "$code"
}
count() { find "$1" -type f -printf x | wc -c; }
weigh() { find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }

run() { # OUT DIR OPTION...
    local out=$1
    shift
    cargo run --quiet --release --locked --example hash_tree -- "$@" >"$out" || { local code=$?; cat "$out"; return $code; }
}

# ---- a tree whose content is known ---------------------------------------------------------------------

tree=$work/tree out=$work/out
grow "$tree"
check "20,000 files are hashed" run "$out" "$tree" --sums "$work/sums"
check "it ends with the summary" is_last_line_the_summary "$out"
check "each file and byte is counted" has_files_and_bytes "$out" "$(count "$tree")" "$(weigh "$tree")"
check "no poll was torn or went back" is_faultless "$out"
check "sha256sum finds the same hashes" sha256sum --check --quiet --strict "$work/sums"
check "there is one hash per file" is_equal hashes "$(count "$tree")" "$(wc -l <"$work/sums")"
cat "$out"

# ---- what cannot be read is counted -------------------------------------------------------------------

# Root can read everything, so another user runs this.
unprivileged() {
    local binary=$work/hash_tree
    cp "$(cargo build --quiet --release --locked --example hash_tree --message-format json |
        jq -r 'select(.executable != null and .target.name == "hash_tree") | .executable')" "$binary" || return 1
    chmod 755 "$work" "$binary"
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid=65534 --regid=65534 --clear-groups -- "$binary" "$1"
    else
        "$binary" "$1"
    fi >"$out"
}
secret=$work/secret
mkdir -p "$secret/closed" && echo public >"$secret/public" && echo secret | tee "$secret/a" "$secret/b" >"$secret/closed/c"
chmod 000 "$secret/a" "$secret/b" "$secret/closed"
check "it does not fail because of unreadable files" unprivileged "$secret"
check "they are counted as files" has_files_and_bytes "$out" 3 7
check "with the system's error, directories too" grep -qE '3 × Permission denied' "$out"
check "their tasks have failed" grep -qE '^tasks failed +3$' "$out"
cat "$out"

# ---- what is refused ----------------------------------------------------------------------------------

check "an empty directory is accepted" run "$out" "$tree/empty"
check "it has no files" has_files_and_bytes "$out" 0 0
check "a directory that is not there is refused" exits_with 2 run "$out" "$work/nowhere"
check "a file instead of a directory is refused" exits_with 2 run "$out" "$tree/0/0"
check "an unknown option is refused" exits_with 2 run "$out" --fast
# Files of the kernel's report no useful size before they are read.
check "a file of another size than listed makes it fail" exits_with 1 run "$out" /proc/sys/kernel/random

# ---- a real tree --------------------------------------------------------------------------------------

# Any tree will do: the smaller of these with 20,000 files, if there is one.
real=/usr/share
[ "$(count "$real")" -ge 20000 ] || real=/usr
echo "the real tree is $real, of $(count "$real") files"
check "a real tree is hashed" run "$out" "$real"
check "each file of it is counted" is_equal files "$(count "$real")" "$(field files "$out")"
check "no poll of it was torn or went back" is_faultless "$out"
cat "$out"
report
