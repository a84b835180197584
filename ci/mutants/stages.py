"""How a mutant is run through the tests, the schedules and the models."""

import collections
import fnmatch
import json
import os
import pathlib
import re
import selectors
import signal
import subprocess
import sys

from paths import WORK, settings, write

# A program none of whose threads runs for so many seconds is deadlocked. It need not be idle altogether: a
# keeper's thread ticks.
DEADLOCK = 20
# What a test may take, in seconds of a processor, to be among those that are run first.
QUICK = 0.1
# As many as ci/test.sh runs, of the same seed.
SCHEDULES = 100_000


def running(pid):
    """The seconds of a processor that a process has used, and whether a thread of it runs or could run."""
    try:
        used = lambda stat: stat.rsplit(")", 1)[1].split()
        own = used(pathlib.Path(f"/proc/{pid}/stat").read_text())
        states = [used(stat.read_text())[0] for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    except (OSError, IndexError):
        return 0.0, True
    return (int(own[11]) + int(own[12])) / os.sysconf("SC_CLK_TCK"), any(state in "RD" for state in states)


def follow(command, tree, seconds, on_line, patience=None):
    """Runs a program until it ends, `on_line` gives something, its seconds of a processor are used up (or as many
    as `patience` says without a line), or it is deadlocked. Gives what `on_line` gave, or how it ended: its code, "no end", "deadlock"."""
    # It goes when this process is killed.
    limited = ["setpriv", "--pdeathsig", "KILL", "bash", "-c", 'ulimit -t "$0"; exec "$@"', str(int(seconds)), *command]
    environment = dict(os.environ, RUST_BACKTRACE="0", PROPTEST_FAILURE_PERSISTENCE="off")
    program = subprocess.Popen(
        limited, cwd=tree, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    selector, buffer = selectors.DefaultSelector(), b""
    selector.register(program.stdout, selectors.EVENT_READ)
    samples, at_line = collections.deque(maxlen=2 * DEADLOCK), 0.0
    try:
        while True:
            if selector.select(0.5):
                read = os.read(program.stdout.fileno(), 65536)
                *lines, buffer = (buffer + read).split(b"\n")
                for line in lines:
                    if (found := on_line(line.decode(errors="replace"))) is not None:
                        return found
                if not read:
                    code = program.wait()
                    return "no end" if code in (-signal.SIGKILL, -signal.SIGXCPU) else code
                samples.clear()
                at_line = running(program.pid)[0]
                continue
            samples.append(running(program.pid))
            if patience and samples[-1][0] > at_line + patience:
                return "no end"
            if len(samples) == samples.maxlen:
                used, ran = samples[-1][0] - samples[0][0], sum(ran for _, ran in samples)
                if used < 0.5 and ran < 5:
                    return "deadlock"
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        program.stdout.close()


def run_tests(program, tree, baseline, _mutant=None):
    """The first test that fails; None if all pass. Those that take longer come last."""
    cost = baseline["tests"]
    quick = sorted(test for test, took in cost.items() if took < QUICK)
    slow = sorted((test for test in cost if test not in quick), key=cost.get)
    for tests in filter(None, [quick, slow]):
        to_go = sorted(tests)

        def on_line(line):
            if match := re.match(r"test (\S+)(?: - should panic)? \.\.\. (\w+)", line):
                if match.group(1) in to_go:
                    to_go.remove(match.group(1))
                return match.group(1) if match.group(2) == "FAILED" else None

        seconds, patience = 15 + 4 * sum(map(cost.get, tests)), 5 + 4 * max(map(cost.get, tests), default=0)
        command = [program, "--test-threads", "2", "--exact", *tests]
        end = follow(command, tree, seconds, on_line, patience)
        if isinstance(end, str) and end not in ("no end", "deadlock"):
            return end
        if end != 0:
            return f"{to_go[0] if to_go else 'a test'}: {end if isinstance(end, str) else 'aborts'}"
    return None


def chosen_models(file, tree, baseline):
    """The models that have to do with a file: first those that WEAKENINGS.md names for it, then the cheap ones."""
    groups = next((groups for glob, groups in settings()["models"].items() if fnmatch.fnmatch(file, glob)), None)
    groups = groups or [path.stem for path in (tree / "loom-tests/src/models").glob("*.rs")]
    texts = [(tree / f"loom-tests/src/models/{group}.rs").read_text() for group in groups]
    chosen = {name for text in texts for name in re.findall(r"^fn (i\d\w+)", text, re.M)}
    rows = (tree / "loom-tests/WEAKENINGS.md").read_text().splitlines()
    named = {name for row in rows if row.startswith(f"| {file} ") for name in re.findall(r"`(i\d\w+)`", row)}
    cost = baseline["models"]
    return sorted((named | chosen) & set(cost), key=lambda name: (name not in named, cost[name]))


def run_models(program, tree, baseline, mutant):
    begun = []

    def on_line(line):
        if line.startswith("begin "):
            begun.append(line.split()[1])
        if re.match(r"i\d\w+ .*(FAILED|SINGLE EXECUTION)", line):
            return line.split()[0]

    models = chosen_models(mutant.file, tree, baseline)
    end = follow([program, "--share", "--first", "--limit", "600", *models], tree, baseline["seconds"], on_line)
    if isinstance(end, str) and end.startswith("i"):
        return end
    # Exploring may take long with any change; that says nothing.
    return None if end in (0, 1, "no end") else f"{begun[-1] if begun else 'a model'}: aborts"


def run_schedules(program, tree, baseline, _mutant=None):
    failed = lambda line: match.group(1) if (match := re.match(r"FAILED: (\S+)", line)) else None
    end = follow([program, str(SCHEDULES)], tree, 30 + 4 * baseline["schedules"], failed)
    if isinstance(end, str) and end not in ("no end", "deadlock"):
        return end
    return None if end == 0 else f"a schedule: {end}"


def measured_tests(program, tree):
    """How many seconds of a processor each test takes; on the tree as it is, where none may fail."""
    cost, used = {}, 0.0
    listed = subprocess.Popen(
        [program, "--test-threads", "1"], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in listed.stdout:
        if match := re.match(r"test (\S+)(?: - should panic)? \.\.\. (\w+)", line):
            now = running(listed.pid)[0]
            cost[match.group(1)], used = max(now - used, 0), max(now, used)
    if listed.wait():
        sys.exit(f"a test fails in the tree as it is: see {program}")
    return cost


def measured_models(program, tree):
    run = subprocess.run([program, "--share"], cwd=tree, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"a model fails in the tree as it is:\n{run.stdout}")
    took = re.findall(r"^(\w+) +\d+ executions +\d+ preemptions +([\d.]+) s", run.stdout, re.M)
    return {name: float(cost) for name, cost in took}


def measured_schedules(program, tree):
    before = os.times().children_user
    if subprocess.run([program, str(SCHEDULES)], cwd=tree, capture_output=True).returncode:
        sys.exit("a schedule fails in the tree as it is")
    return os.times().children_user - before


def baseline(worker, stage):
    """What a stage costs on the tree as it is, which has to pass it."""
    path = WORK / "baseline.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("digest") != worker.snapshot.digest:
        stored = {"digest": worker.snapshot.digest}
    program, error = worker.build(stage)
    if program is None:
        sys.exit(f"the tree as it is does not build:\n{error}")
    if stage not in stored:
        print(f"{stage} of the tree as it is …", flush=True)
        stored[stage] = {"tests": measured_tests, "models": measured_models, "schedules": measured_schedules}[stage](
            program, worker.tree
        )
        path.write_text(json.dumps(stored, indent=1))
    return stored


def judge(worker, mutant, stage, baseline):
    """Builds and runs a mutant: (verdict, who noticed)."""
    original = (worker.tree / mutant.file).read_bytes()
    write(worker.tree / mutant.file, mutant.applied(original.decode()).encode())
    try:
        program, error = worker.build(stage)
        if program is None:
            # A constant assertion is a test, too; any other error says only that it is not Rust.
            return ("killed", "a constant assertion") if "evaluation panicked" in error else ("unviable", "")
        by = {"tests": run_tests, "models": run_models, "schedules": run_schedules}[stage](
            program, worker.tree, baseline, mutant
        )
        return ("killed", by) if by else ("passed", "")
    finally:
        write(worker.tree / mutant.file, original)
