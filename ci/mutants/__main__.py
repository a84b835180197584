"""Judges mutants of the store; called by ci/mutants.sh, whose head lists the commands.

cargo-mutants says which mutants there are. Each is put into a copy of the tree and goes through stages, the
cheapest first: the tests, then the schedules (proofs/), then the models (loom-tests/). Only what survives
one stage reaches the next. All tests are built as one program, as modules of the library, so that a mutant
costs one incremental build and one link; the first test that fails ends the run.

Results are lines of JSON in target/mutation/results/, one file for each process that wrote them. A result
holds while the code of its file stays as it was: comments and unit tests are not part of that. Tests that
are added or changed later do not undo it; `run --survivors` judges the survivors again.
"""

import argparse
import collections
import sys
import threading
import time

from paths import STAGES
from results import Notes, check, results, survived, write_table
from source import mutants
from stages import baseline, judge
from trees import Snapshot, Worker

SAMPLE = 400


def is_due(known, stage):
    """Whether a mutant of which this is known has yet to go through the stage."""
    done = STAGES.index(known["stage"]) + 1 if known else 0
    return done == STAGES.index(stage) and (not known or known["verdict"] == "passed")


def chosen(arguments, listed):
    shard, shards = map(int, arguments.shard.split("/"))
    listed = [mutant for mutant in listed if arguments.only in mutant.row]
    listed = [mutant for number, mutant in enumerate(listed) if number % shards == shard - 1]
    everything = arguments.all or arguments.only or arguments.survivors
    return listed, len(listed) if everything else -(-arguments.sample // shards)


def run_stage(stage, due, workers, notes, base):
    """Judges the mutants that `due` gives, one after the other, on all workers."""
    lock = threading.Lock()

    def work(worker):
        while True:
            with lock:
                mutant = next(due, None)
            if mutant is None:
                return
            begun = time.monotonic()
            verdict, by = judge(worker, mutant, stage, base)
            notes.note(mutant, stage, verdict, by, time.monotonic() - begun)

    threads = [threading.Thread(target=work, args=[worker], daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(arguments):
    snapshot = Snapshot()
    known = results(snapshot.files)
    notes = Notes(known, snapshot.files)
    listed, sample = chosen(arguments, mutants(snapshot.tree))
    if arguments.survivors:
        listed = [mutant for mutant in listed if survived(known.get(mutant.row))]
        for mutant in listed:
            del known[mutant.row]
    taken, counted = [], lambda mutant: known.get(mutant.row, {}).get("verdict") != "unviable"

    def first_stage():
        # What turns out not to be Rust is replaced by the next one.
        for mutant in listed:
            if sum(map(counted, taken)) >= sample:
                return
            taken.append(mutant)
            if is_due(known.get(mutant.row), "tests"):
                yield mutant

    workers = [Worker(snapshot)]
    for stage in STAGES[: STAGES.index(arguments.until) + 1]:
        due = first_stage() if stage == "tests" else (m for m in taken if is_due(known.get(m.row), stage))
        base = baseline(workers[0], stage) | {"seconds": arguments.seconds}
        workers += [Worker(snapshot) for _ in range(len(workers), arguments.jobs)]
        for worker in workers:
            worker.seed(stage, workers[0])
        run_stage(stage, due, workers, notes, base)
    write_table(snapshot.files, known, listed_of(snapshot))
    return True


def listed_of(snapshot):
    return collections.Counter(mutant.file for mutant in mutants(snapshot.tree))


def table(_):
    snapshot = Snapshot()
    write_table(snapshot.files, results(snapshot.files), listed_of(snapshot))
    return True


def list_mutants(arguments):
    snapshot = Snapshot()
    known, (listed, _) = results(snapshot.files), chosen(arguments, mutants(snapshot.tree))
    for mutant in listed:
        line = known.get(mutant.row)
        print(f"{line['verdict'] + ' ' + line['stage'] if line else 'to be judged':18} {mutant.row}")
    return True


def main():
    parser = argparse.ArgumentParser(description="See the head of ci/mutants.sh.")
    commands = {"run": run, "list": list_mutants, "table": table, "check": check}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many mutants to judge (%(default)s)")
    parser.add_argument("--all", action="store_true", help="judge all of them")
    parser.add_argument("--shard", default="1/1", help="K/N: the K-th of N parts")
    parser.add_argument("--only", default="", help="only rows that contain this text")
    parser.add_argument("--survivors", action="store_true", help="judge again what has survived")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage to run")
    parser.add_argument("--jobs", type=int, default=2, help="how many to judge at once (%(default)s)")
    parser.add_argument("--seconds", type=int, default=90, help="of a processor, for the models of one mutant (%(default)s)")
    arguments = parser.parse_args()
    sys.exit(0 if commands[arguments.command](arguments) else 1)


if __name__ == "__main__":
    main()
