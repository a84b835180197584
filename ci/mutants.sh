#!/usr/bin/env bash
# Mutation testing of the files that hold the protocol: whether the tests, the models and the schedules
# notice a change of the code. Takes up to two hours, so it is no part of ci/test.sh.
#
#     ci/mutants.sh run [--sample N]    judges N mutants (400), spread evenly over the files, and writes
#                                       docs/MUTANTS.md; goes on where it was stopped
#     ci/mutants.sh run --all           judges all mutants
#     ci/mutants.sh run --shard 1/4     a quarter of them; the results of all shards meet in one directory
#     ci/mutants.sh run --survivors     judges those again that have survived so far
#     ci/mutants.sh run --only TEXT     those whose row contains TEXT
#     ci/mutants.sh list [--only TEXT]  what there is to judge, in the order of the sample
#     ci/mutants.sh table               writes docs/MUTANTS.md from the results so far
#     ci/mutants.sh check               fails if the table is older than the code, or a survivor has no reason
#
# The mutants come from cargo-mutants, which is installed where it is missing; .cargo/mutants.toml says from
# which files. How they are built and run is in ci/mutants/. The reasons are in docs/mutants.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
case ${1-} in
run | list) cargo mutants --version >/dev/null 2>&1 || nice -n 10 cargo install cargo-mutants --locked ;;
esac
exec python3 -B ci/mutants "$@"
