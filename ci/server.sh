#!/usr/bin/env bash
# The service: its tests, and requests generated from the OpenAPI document that it serves (schemathesis), so
# that document and service agree, and no request, however unusual, finds a defect.
#
#     ci/server.sh
#
# Installs the Debian packages of curl and of Python's virtual environments if they are missing, and
# schemathesis from PyPI into its own directory below the build directory.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. ci/lib/report.sh

schemathesis_version=4.32.5
export CARGO_TERM_COLOR=never
target=${CARGO_TARGET_DIR:-target}

missing=()
command -v curl >/dev/null || missing+=(curl)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing from Debian: ${missing[*]}"
    { apt-get update -qq && apt-get install -y -qq "${missing[@]}"; } >/dev/null || exit 1
fi

timeout 900 cargo test --locked -p inflight-server || exit 1
cargo build --locked -p inflight-server || exit 1

tools=$target/schemathesis-$schemathesis_version
if [ ! -x "$tools/bin/schemathesis" ]; then
    python3 -m venv "$tools" &&
        "$tools/bin/pip" install -q --disable-pip-version-check "schemathesis==$schemathesis_version" || exit 1
fi

work=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill -TERM "$server" 2>/dev/null
    rm -rf "$work"
}
trap stop EXIT

"$target/debug/inflight" serve --listen 127.0.0.1:0 --wait-limit 1s --capacity 100000 --log warn \
    >"$work/greeting" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
    [ "$(wc -l <"$work/greeting")" -ge 3 ] && break
    sleep 0.1
done
url=$(awk '/^dashboard/ { print $2 }' "$work/greeting")
url=${url%/}

# Streams of events do not end, so they are not requested here; the tests cover them.
made_up_requests() {
    timeout 180 "$tools/bin/schemathesis" --config-file server/schemathesis.toml run "$url/openapi.json" \
        --url "$url" --exclude-path-regex 'events$' --max-examples "${EXAMPLES:-40}" \
        --request-timeout 10 --seed "${SEED:-1}" --no-color
}
still_serves() {
    [ "$(curl -s -o /dev/null -w '%{http_code}' "$url/healthz")" = 200 ]
}
nothing_is_logged() {
    # From level `warn` on: a defect, or a request that was not served.
    grep -vE '"?detail"?.*the store is full' "$work/log" && return 1
    return 0
}
# The curl commands of a document, against this service. A stream of events goes on until curl gives up.
documented() { # FILE
    local commands
    commands=$(awk '/^```sh$/ { block = ""; inside = 1; next }
        /^```$/ { if (inside && block ~ /curl /) printf "%s", block; inside = 0; next }
        inside { block = block $0 "\n" }' "$1")
    grep -q 'http://127.0.0.1:7117' <<<"$commands" || { echo "$1 shows no command"; return 1; }
    curl() {
        local code=0
        command curl --fail-with-body --max-time 3 "$@" || code=$?
        [ "$code" -eq 0 ] || [ "$code" -eq 28 ] || { echo "curl $* leaves with $code" >>"$work/refused"; return "$code"; }
    }
    rm -f "$work/refused"
    (set -e; eval "${commands//http:\/\/127.0.0.1:7117/$url}"; wait) || return 1
    [ ! -e "$work/refused" ] || { cat "$work/refused"; return 1; }
}
check "README's requests are answered" documented README.md
check "the requests of docs/SERVER.md are answered" documented docs/SERVER.md
check "requests generated from the served OpenAPI document find no defect" made_up_requests
check "the service still answers" still_serves
check "no warning was logged meanwhile" nothing_is_logged
kill -TERM "$server"
wait "$server"
check "the service exits without an error" test $? -eq 0
server=
report
