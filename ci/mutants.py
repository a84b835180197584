#!/usr/bin/env python3
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
import fcntl
import fnmatch
import hashlib
import itertools
import json
import os
import pathlib
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "mutation"
RESULTS = WORK / "results"
TABLE = ROOT / "docs/MUTANTS.md"
SETTINGS = ROOT / "docs/mutants.toml"
WHICH = ROOT / ".cargo/mutants.toml"

COPIED = [".cargo", "Cargo.lock", "Cargo.toml", "README.md", "examples", "loom-tests", "proofs", "src", "tests"]
STAGES = ["tests", "schedules", "models"]
SAMPLE = 400
# The table has to speak of at least so many.
LEAST = 300
# A program none of whose threads runs for so many seconds is deadlocked. It need not be idle altogether: a
# keeper's thread ticks.
DEADLOCK = 20
# What a test may take, in seconds of a processor, to be among those that are run first.
QUICK = 0.1
# As many as ci/test.sh runs, of the same seed.
SCHEDULES = 100_000
SURVIVES = "NO REASON YET"


def settings():
    return tomllib.loads(SETTINGS.read_text())


def write(path, content):
    """Writes a file, unless it says so already: what has not changed is not built again."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# ---- the code and its mutants -------------------------------------------------------------------


def protocol_files(root=ROOT):
    which = tomllib.loads(WHICH.read_text())
    named = lambda globs: {path for glob in globs for path in root.glob(glob) if path.is_file()}
    skipped = {path for path in (root / "src").rglob("*.rs") for glob in which["exclude_globs"]
               if path.match(glob) or fnmatch.fnmatch(str(path.relative_to(root)), glob)}
    files = named(which["examine_globs"]) - named(which["exclude_globs"]) - skipped
    return sorted(str(path.relative_to(root)) for path in files)


def code_of(text):
    """The code of a file: without comments, unit tests and empty lines."""
    text = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*', lambda match: match.group(1) or "", text)
    text = re.split(r"^#\[cfg\((?:all\()?test\b[^\n]*\]\s*mod \w+ \{", text, maxsplit=1, flags=re.M)[0]
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def digest(file, root=ROOT):
    return hashlib.sha256(code_of((root / file).read_text()).encode()).hexdigest()[:12]


class Mutant:
    def __init__(self, listed, nth):
        what = re.sub(r"^\S+?:\d+:\d+: ", "", listed["name"])
        self.file, self.diff = listed["file"], listed["diff"]
        self.row = f"{self.file}: {what}" + (f" ({nth})" if nth > 1 else "")
        # The same place in the order of the sample, whatever else comes or goes.
        self.order = hashlib.sha256(self.row.encode()).hexdigest()

    def line(self):
        """The line of code that the mutant changes, or the function that it empties."""
        lines = self.diff.splitlines()[3:]
        gone = [line[1:].strip() for line in lines if line.startswith("-")]
        gone = [line for line in gone if line and not line.startswith("//")]
        return gone[0] + (" …" if len(gone) > 1 else "") if gone else ""

    def applied(self, text):
        """The text of the file with the change made."""
        before, after, rest = text.splitlines(keepends=True), [], 0
        for line in self.diff.splitlines(keepends=True)[2:]:
            if hunk := re.match(r"@@ -(\d+)", line):
                start = int(hunk.group(1)) - 1
                after += before[rest:start]
                rest = start
            elif line.startswith("+"):
                after.append(line[1:])
            elif line[0] in " -":
                if before[rest].rstrip("\n") != line[1:].rstrip("\n"):
                    sys.exit(f"{self.row}: its diff is not of this text")
                if line[0] == " ":
                    after.append(before[rest])
                rest += 1
        return "".join(after + before[rest:])


def mutants(tree):
    """All mutants of the tree, in the order of the sample: one of each file, then a second of each, …"""
    listed = subprocess.run(
        ["cargo", "mutants", "--list", "--json", "--diff", "--package", "inflight"],
        cwd=tree, capture_output=True, text=True,
    )
    if listed.returncode:
        sys.exit(listed.stderr)
    times, by_file = collections.Counter(), collections.defaultdict(list)
    for one in json.loads(listed.stdout):
        what = one["file"] + re.sub(r":\d+:\d+:", "", one["name"])
        times[what] += 1
        by_file[one["file"]].append(Mutant(one, times[what]))
    for in_file in by_file.values():
        in_file.sort(key=lambda mutant: mutant.order)
    longest = max(map(len, by_file.values()))
    return [by_file[file][n] for n in range(longest) for file in sorted(by_file) if n < len(by_file[file])]


# ---- the copies that are built ------------------------------------------------------------------


def copy_tree(to, root):
    """A copy of what is built. What has gone from the root goes from the copy, too."""
    wanted = set()
    for part in COPIED:
        files = [root / part] if (root / part).is_file() else (root / part).rglob("*")
        for file in files:
            if file.is_file():
                wanted.add(to / file.relative_to(root))
                if file.name != "Cargo.toml" or file.parent != root:
                    write(to / file.relative_to(root), file.read_bytes())
    manifest = re.sub(r"^members = .*", 'members = [".", "loom-tests", "proofs"]', (root / "Cargo.toml").read_text(), flags=re.M)
    manifest = re.sub(r"^default-members = .*", "", manifest, flags=re.M)
    manifest = re.sub(r"^(inflight-\w+) = \{ path.*", "", manifest, flags=re.M)
    write(to / "Cargo.toml", manifest.encode())
    for part in COPIED:
        for file in (to / part).rglob("*") if (to / part).is_dir() else []:
            if file.is_file() and file not in wanted:
                file.unlink()


def join_tests(tree):
    """Makes the integration tests modules of the library: one program to build, instead of one for each file."""
    modules = []
    for path in sorted((tree / "tests").glob("*.rs")) + sorted((tree / "tests").glob("*/main.rs")):
        name = path.stem if path.stem != "main" else path.parent.name
        modules.append(f'#[path = "../tests/{path.relative_to(tree / "tests")}"]\nmod {name};\n')
        folder = tree / "tests" / name
        for file in {path, *(folder.rglob("*.rs") if folder.is_dir() else [])}:
            write(file, re.sub(r"\bcrate::", f"crate::joined_tests::{name}::", file.read_text()).encode())
    library = (tree / "src/lib.rs").read_text()
    joined = "\n#[cfg(test)]\nextern crate self as inflight;\n#[cfg(test)]\nmod joined_tests;\n"
    write(tree / "src/lib.rs", (library + joined).encode())
    write(tree / "src/joined_tests.rs", "".join(modules).encode())


class Snapshot:
    """The tree as it was when this process began. What is changed meanwhile does not disturb it."""

    def __init__(self):
        WORK.mkdir(parents=True, exist_ok=True)
        self.folder = tempfile.TemporaryDirectory(dir=WORK, prefix="snapshot-")
        self.tree = pathlib.Path(self.folder.name)
        copy_tree(self.tree, ROOT)
        self.files = {file: digest(file, self.tree) for file in protocol_files(self.tree)}
        whole = hashlib.sha256()
        for file in sorted(self.tree.rglob("*")):
            if file.is_file():
                whole.update(str(file.relative_to(self.tree)).encode() + file.read_bytes())
        self.digest = whole.hexdigest()


class Worker:
    """A copy of the tree, with a target directory for each stage. Each is used by one process at a time."""

    def __init__(self, snapshot, like=None):
        self.snapshot, self.home = snapshot, self.free_home()
        joined = tempfile.TemporaryDirectory(dir=WORK, prefix="joined-")
        copy_tree(pathlib.Path(joined.name), snapshot.tree)
        join_tests(pathlib.Path(joined.name))
        # What is there already as it should be is not written again, so cargo need not build it again.
        self.tree = self.home / "tree"
        copy_tree(self.tree, pathlib.Path(joined.name))
        for stage in STAGES:
            if like and (like.home / stage).exists() and not (self.home / stage).exists():
                shutil.copytree(like.home / stage, self.home / stage, symlinks=True)

    def free_home(self):
        for number in itertools.count():
            home = WORK / f"worker-{number}"
            home.mkdir(parents=True, exist_ok=True)
            self.lock = (home / "lock").open("w")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return home
            except BlockingIOError:
                self.lock.close()

    def build(self, stage):
        """Builds the program of a stage. Gives it and None, or None and what the compiler says."""
        flags, command = {
            "tests": ("", ["test", "--lib", "--no-run", "--package", "inflight", "--profile", "mutants"]),
            "models": ("--cfg inflight_loom", ["build", "--package", "inflight-loom-tests", "--profile", "loom"]),
            "schedules": ("--cfg inflight_shuttle", ["build", "--package", "inflight-proofs", "--bin", "shuttle", "--profile", "mutants"]),
        }[stage]
        environment = dict(os.environ, RUSTFLAGS=f"-Awarnings {flags}", CARGO_TARGET_DIR=str(self.home / stage))
        built = subprocess.run(
            ["cargo", *command, "--offline", "--quiet", "--message-format=json"],
            cwd=self.tree, env=environment, capture_output=True, text=True,
        )
        if built.returncode:
            return None, built.stdout + built.stderr
        messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
        return [message["executable"] for message in messages if message.get("executable")][-1], None

    def judge(self, mutant, stage, baseline):
        """Builds and runs a mutant: (verdict, who noticed)."""
        original = (self.tree / mutant.file).read_bytes()
        write(self.tree / mutant.file, mutant.applied(original.decode()).encode())
        try:
            program, error = self.build(stage)
            if program is None:
                # A constant assertion is a test, too; any other error says only that it is not Rust.
                return ("killed", "a constant assertion") if "evaluation panicked" in error else ("unviable", "")
            by = {"tests": run_tests, "models": run_models, "schedules": run_schedules}[stage](
                program, self.tree, baseline, mutant
            )
            return ("killed", by) if by else ("passed", "")
        finally:
            write(self.tree / mutant.file, original)


# ---- running ------------------------------------------------------------------------------------


def running(pid):
    """The seconds of a processor that a process has used, and whether a thread of it runs or could run."""
    try:
        used = lambda stat: stat.rsplit(")", 1)[1].split()
        own = used(pathlib.Path(f"/proc/{pid}/stat").read_text())
        states = [used(stat.read_text())[0] for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    except (OSError, IndexError):
        return 0.0, True
    return (int(own[11]) + int(own[12])) / os.sysconf("SC_CLK_TCK"), any(state in "RD" for state in states)


def follow(command, tree, seconds, on_line):
    """Runs a program until it ends, `on_line` gives something, its seconds of a processor are used up, or it is
    deadlocked. Gives what `on_line` gave, or how it ended: its code, "no end", "deadlock"."""
    # It goes when this process is killed.
    limited = ["setpriv", "--pdeathsig", "KILL", "bash", "-c", 'ulimit -t "$0"; exec "$@"', str(int(seconds)), *command]
    environment = dict(os.environ, RUST_BACKTRACE="0", PROPTEST_FAILURE_PERSISTENCE="off")
    program = subprocess.Popen(
        limited, cwd=tree, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    selector, buffer = selectors.DefaultSelector(), b""
    selector.register(program.stdout, selectors.EVENT_READ)
    samples = collections.deque(maxlen=2 * DEADLOCK)
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
                continue
            samples.append(running(program.pid))
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
    for tests in [quick, slow]:
        to_go = sorted(tests)

        def on_line(line):
            if match := re.match(r"test (\S+)(?: - should panic)? \.\.\. (\w+)", line):
                if match.group(1) in to_go:
                    to_go.remove(match.group(1))
                return match.group(1) if match.group(2) == "FAILED" else None

        seconds = 15 + 4 * sum(cost[test] for test in tests)
        end = follow([program, "--test-threads", "2", "--exact", *tests], tree, seconds, on_line)
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


# ---- the results --------------------------------------------------------------------------------


def results(files):
    """What is known of each row, of the code as it is in `files`; the newest result counts."""
    lines = [json.loads(line) for path in sorted(RESULTS.glob("*.jsonl")) for line in path.read_text().splitlines() if line.endswith("}")]
    lines.sort(key=lambda line: line["at"])
    return {line["row"]: line for line in lines if files.get(line["row"].split(": ")[0]) == line["code"]}


class Notes:
    """Where this process writes its results."""

    def __init__(self, known, files):
        RESULTS.mkdir(parents=True, exist_ok=True)
        self.path = RESULTS / f"{os.uname().nodename}-{os.getpid()}.jsonl"
        self.known, self.files, self.lock = known, files, threading.Lock()

    def note(self, mutant, stage, verdict, by, seconds):
        line = {"row": mutant.row, "code": self.files[mutant.file], "line": mutant.line(), "stage": stage}
        line |= {"verdict": verdict, "by": by, "seconds": round(seconds, 1), "at": time.time()}
        with self.lock:
            self.known[mutant.row] = line
            with self.path.open("a") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            shown = {"killed": f"killed by {by}", "passed": f"survives the {stage}"}.get(verdict, verdict)
            print(f"{stage:9} {seconds:6.1f} s  {mutant.row}: {shown}", flush=True)


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
            verdict, by = worker.judge(mutant, stage, base)
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
        workers += [Worker(snapshot, workers[0]) for _ in range(len(workers), arguments.jobs)]
        run_stage(stage, due, workers, notes, base)
    write_table(snapshot.files, known, listed_of(snapshot))
    return True


def survived(line):
    return bool(line) and line["verdict"] == "passed"


def listed_of(snapshot):
    return collections.Counter(mutant.file for mutant in mutants(snapshot.tree))


# ---- the table ----------------------------------------------------------------------------------


def reasons():
    return {row: one["reason"] for one in settings().get("survivor", []) for row in one["rows"]}


def write_table(files, known, listed):
    by_file = collections.defaultdict(list)
    for row, line in known.items():
        if line["verdict"] != "unviable":
            by_file[row.split(": ")[0]].append(line)

    def counts(lines):
        killed = [line for line in lines if line["verdict"] == "killed"]
        by_stage = [sum(line["stage"] == stage for line in killed) for stage in STAGES]
        return [len(lines), len(killed), *by_stage, len(lines) - len(killed)]

    rows = [[f"`{file}`", f"`{code}`", listed[file], *counts(by_file[file])] for file, code in files.items()]
    total = ["all", "", sum(listed.values()), *counts([line for lines in by_file.values() for line in lines])]
    share = 100 * total[4] / max(total[3], 1)
    why = reasons()
    survivors = sorted((row, line["line"]) for row, line in known.items() if survived(line))
    as_code = lambda code: "`` " + code.replace("|", "\\|") + " ``"
    lines = [
        "# What the tests notice",
        "",
        "Generated by `ci/mutants.sh`; `ci/mutants.sh check` says whether it is current. A mutant is one small change of",
        "the code, made by cargo-mutants. It is killed if a test fails with it, or else a schedule (`proofs/`), or else",
        f"a model (`loom-tests/`). The mutants judged are a sample spread over all files. {total[4]} of {total[3]} are killed ({share:.1f} %).",
        "",
        "`code` is a hash of the file without comments and unit tests: the table speaks of the code that has it. Mutants",
        "that do not compile are not counted as judged.",
        "",
        "| file | code | mutants | judged | killed | by tests | by schedules | by models | survive |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: |",
        *["| " + " | ".join(map(str, row)) + " |" for row in [*rows, total]],
        "",
        "## Survivors",
        "",
        "| mutant | the line that it changes | why it survives |",
        "| --- | --- | --- |",
        *[f"| {row.replace('|', chr(92) + '|')} | {as_code(line)} | {why.get(row, SURVIVES)} |" for row, line in survivors],
        "",
    ]
    TABLE.write_text("\n".join(lines))
    print(f"{total[4]} of {total[3]} killed ({share:.1f} %), {total[8]} survive, {sum(row not in why for row, _ in survivors)} without a reason")


def table(_):
    snapshot = Snapshot()
    write_table(snapshot.files, results(snapshot.files), listed_of(snapshot))
    return True


def cells(line):
    return [cell.replace("\\|", "|") for cell in re.split(r"(?<!\\) ?\| ?", line)[1:-1]]


def check(_):
    """Whether the table speaks of the present code, and each survivor has a reason."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    split = lines.index("## Survivors") if "## Survivors" in lines else len(lines)
    spoken = {cells(line)[0].strip("`"): cells(line) for line in lines[:split] if line.startswith("| `")}
    survivors = {cells(line)[0]: cells(line) for line in lines[split:] if line.startswith("| src/")}
    judged = sum(int(row[3]) for row in spoken.values())
    files, why = {file: digest(file) for file in protocol_files()}, reasons()
    wrong = [f"not in the table: {file}" for file in files if file not in spoken]
    wrong += [f"in the table, but not in the source: {file}" for file in spoken if file not in files]
    wrong += [f"has changed since it was judged: {file}" for file in files if file in spoken and spoken[file][1] != f"`{files[file]}`"]
    wrong += [f"none of its mutants is judged: {file}" for file, row in spoken.items() if row[2] != "0" and row[3] == "0"]
    wrong += [f"survives without a reason: {row}" for row in survivors if row not in why]
    wrong += [f"a reason for what does not survive: {row}" for row in why if row not in survivors]
    wrong += [f"the table has another reason: {row}" for row, cell in survivors.items() if row in why and cell[2] != why[row]]
    wrong += [f"only {judged} mutants are judged, of at least {LEAST}"] if judged < LEAST else []
    print("\n".join(wrong) if wrong else f"{judged} mutants, {len(survivors)} survivors with a reason each")
    return not wrong


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
