#!/usr/bin/env bash
# The service under load: prints the figures for docs/PERFORMANCE.md. It is not a check: on a machine with
# other load, the rates mean little, and the ratios a little more.
#
#     ci/load.sh [SECONDS a run] [ROUNDS]
#
# Installs wrk from Debian's packages where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-4} rounds=${2:-5}
target=${CARGO_TARGET_DIR:-target}

command -v wrk >/dev/null || {
    echo "installing from Debian: wrk"
    { apt-get update -qq && apt-get install -y -qq wrk; } >/dev/null
}
cargo build --locked --release -p inflight-server --example load
load=$target/release/examples/load

work=$(mktemp -d)
mkfifo "$work/service" "$work/idle"
trap 'exec 3>&- 4>&-; wait; rm -rf "$work"' EXIT
exec 3<>"$work/service" 4<>"$work/idle"

start_service() {
    exec 3>&-
    rm -f "$work/service" && mkfifo "$work/service"
    "$load" serve <"$work/service" >"$work/addresses" 3>&- 4>&- &
    exec 3>"$work/service"
    until grep -q ^pid "$work/addresses"; do sleep 0.1; done
    service=$(awk '/^service/ { print $2 }' "$work/addresses")
    bare=$(awk '/^bare/ { print $2 }' "$work/addresses")
    path=$(awk '/^path/ { print $2 }' "$work/addresses")
    pid=$(awk '/^pid/ { print $2 }' "$work/addresses")
}
# Requests a second, and the microseconds of processor time that the service spent on each. Other load on the
# machine hardly affects the second figure.
ticks() { awk '{ print $14 + $15 }' "/proc/$pid/stat"; }
run() { # URL [HEADER]
    local before
    before=$(ticks)
    wrk -t 1 -c 32 -d "${seconds}s" ${2:+-H "$2"} "$1" |
        awk -v before="$before" -v stat="/proc/$pid/stat" -v hz="$(getconf CLK_TCK)" '
            / requests in / { count = $1 }
            /^Requests\/sec/ { rate = $2 }
            END {
                getline line < stat
                split(line, field, " ")
                printf "%.0f %.2f\n", rate, (field[14] + field[15] - before) * 1e6 / hz / count
            }'
}
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
rss() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }

start_service
etag=$(curl -sI "$service$path" | tr -d '\r' | awk 'tolower($1) == "etag:" { print $2 }')
echo "machine: $(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg); wrk -t 1 -c 32, ${seconds} s, $rounds rounds"
echo "body: $(awk '/^bytes/ { print $2 }' "$work/addresses") bytes"
# In turn in each round, so that other load on the machine affects all three.
for round in $(seq "$rounds"); do
    read -r bare_rate bare_cpu < <(run "$bare$path")
    read -r poll_rate poll_cpu < <(run "$service$path")
    read -r same_rate same_cpu < <(run "$service$path" "If-None-Match: $etag")
    echo "round $round: bare $bare_rate/s $bare_cpu us, polls $poll_rate/s $poll_cpu us, 304s $same_rate/s $same_cpu us"
    echo "$bare_rate $bare_cpu $poll_rate $poll_cpu $same_rate $same_cpu" >>"$work/rounds"
done
column() { awk '{ print $'"$1"' }' "$work/rounds" | median; }
ratio() { awk '{ print $'"$1"' / $'"$2"' }' "$work/rounds" | median; }
echo "a bare axum route with a body of that size: $(column 1)/s, $(column 2) us of processor time each"
echo "polls: $(column 3)/s, $(column 4) us; rate $(ratio 3 1) of the bare route's, time $(ratio 4 2)"
echo "304s: $(column 5)/s, $(column 6) us; rate $(ratio 5 3) of the polls', time $(ratio 6 4)"
echo "(medians over the rounds; ratios are taken within each round)"

echo "mixed: 1,000 polls/s and 200 updates/s by schedule, with 1,000 streams of single tasks"
"$load" mixed "${service#http://}" 1000 $((seconds * 3))

before=$(rss)
read -r alone _ < <(run "$service$path")
rm -f "$work/idle" && mkfifo "$work/idle"
"$load" idle "${service#http://}" 10000 <"$work/idle" >"$work/opened" 3>&- &
exec 4>"$work/idle"
until grep -q ^open "$work/opened"; do sleep 0.2; done
after=$(rss)
read -r beside _ < <(run "$service$path")
echo "idle: 10,000 streams of all events: $(((after - before) * 1024 / 10000)) bytes each (resident memory of the process, $before kB to $after kB)"
echo "polls beside them: $beside/s; without: $alone/s"
exec 3>&- 4>&-
