#!/usr/bin/env python3
"""Breaks the store on purpose, in one place at a time, and finds a model that fails.

  weaken.py sites     lists the orderings that can be weakened
  weaken.py run       breaks each in turn, and writes WEAKENINGS.md; continues where it was stopped
  weaken.py add       breaks only what the table does not have yet, and keeps its other rows; with --first NAME
                      the models of that name are tried first
  weaken.py verify    breaks each ordering again, and runs the model that the table names for it;
                      with --mutations also the protocol
  weaken.py check     checks that the table is current: it has each site, with a model or a reason

The script finds the orderings in the source. Acquire and Release become Relaxed, and AcqRel loses one half
at a time. All sites are compiled at once, each behind a switch, so a weakening needs no build. The mutations
of the protocol are the entries of weakenings.toml; each needs a build. All builds are of a copy of the tree,
below the target directory.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TABLE = HERE / "WEAKENINGS.md"
ENTRIES = HERE / "weakenings.toml"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "weaken"
# ci/loom.sh builds the models here, too, so their dependencies are built once.
BUILT = TARGET / "loom-models"

COPIED = ["src", "loom-tests", "examples", "tests", "Cargo.toml", "Cargo.lock", "README.md"]
WEAKER = {"Acquire": ["Relaxed"], "Release": ["Relaxed"], "AcqRel": ["Acquire", "Release"], "Relaxed": []}
# A module that the models do not build.
UNBUILT = r"#\[cfg\((not\([^\n]*inflight_loom[^\n]*|test|all\(test[^\n]*|inflight_(?:budget|shuttle))\)\]\s*mod \w+ \{"
SWITCH = """
/// The ordering of a site, or a weaker one if this is the site to be broken.
#[cfg(inflight_loom)]
pub(crate) fn weakened(site: usize, ordering: Ordering) -> Ordering {
    static CHOICE: std::sync::OnceLock<Option<(usize, Ordering)>> = std::sync::OnceLock::new();
    let choice = CHOICE.get_or_init(|| {
        let choice = std::env::var("INFLIGHT_WEAKEN").ok()?;
        let (site, to) = choice.split_once('=')?;
        let to = match to {
            "Relaxed" => Ordering::Relaxed,
            "Acquire" => Ordering::Acquire,
            "Release" => Ordering::Release,
            _ => return None,
        };
        Some((site.parse().ok()?, to))
    });
    match choice {
        Some((broken, to)) if *broken == site => *to,
        _ => ordering,
    }
}
"""


# ---- the sites ----------------------------------------------------------------------------------


class Site:
    """One place in the source that names an ordering."""

    def __init__(self, file, start, end, function, operation, ordering):
        self.file, self.start, self.end = file, start, end
        self.function, self.operation, self.ordering = function, operation, ordering
        self.nth = 1

    @property
    def key(self):
        nth = f" ({self.nth})" if self.nth > 1 else ""
        return f"{self.file} `{self.function}` `{self.operation}`{nth}"


def blanked(text):
    """The text without comments, tests, and code that the models do not build; positions stay."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))

    text = re.sub(r"//[^\n]*", blank, text)
    for opening in re.finditer(UNBUILT, text):
        depth, at = 1, opening.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        text = text[: opening.start()] + re.sub(r"[^\n]", " ", text[opening.start() : at]) + text[at:]
    return text


def operation_at(text, start):
    """The operation that the ordering is an argument of, and whether it is the one for failure."""
    depth, at = 0, start
    while True:
        at -= 1
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if depth < 0:
            break
    before = text[:at].rstrip()
    receiver = re.search(r"[\w.\[\]]*$", re.sub(r"\s*\n\s*\.", ".", before[-160:])).group(0)
    place = len(re.findall(r"Ordering::", text[at:start]))
    return receiver + (" on failure" if place else "")


def sites():
    found, seen = [], {}
    for path in sorted((ROOT / "src").rglob("*.rs")):
        file = str(path.relative_to(ROOT))
        if file.startswith("src/sync"):
            continue  # It passes on the orderings that the others name; loom does not build its own code.
        text = blanked(path.read_text())
        for match in re.finditer(r"\bOrdering::(\w+)\b", text):
            if match.group(1) not in WEAKER:
                sys.exit(f"{file}: no rule for weakening {match.group(0)}")
            function = re.findall(r"\bfn (\w+)", text[: match.start()])[-1]
            operation = operation_at(text, match.start())
            if operation.endswith("fence"):
                sys.exit(f"{file}: teach this script to leave out the fence in {function}")
            site = Site(file, match.start(), match.end(), function, operation, match.group(1))
            seen[site.key] = site.nth = seen.get(site.key, 0) + 1
            found.append(site)
    return found


def weakenings():
    """The weakenings to try: (key of the row, number of the site, weaker ordering)."""
    return [
        (f"{site.key}: {site.ordering} → {weaker}", number, weaker)
        for number, site in enumerate(sites())
        for weaker in WEAKER[site.ordering]
    ]


def entries():
    return tomllib.loads(ENTRIES.read_text())


def mutated(mutation):
    """The mutated files, by name. The text to be replaced must be there exactly once."""
    changed = {}
    for change in [mutation, *mutation.get("also", [])]:
        file = change["file"]
        text = changed.get(file) or (ROOT / file).read_text()
        if (times := text.count(change["find"])) != 1:
            sys.exit(f"mutation {mutation['name']!r}: its text is {times} times in {file}")
        changed[file] = text.replace(change["find"], change["replace"])
    return changed


# ---- building and running -----------------------------------------------------------------------


def copy_tree(name):
    """A copy of the sources of the models; files that have not changed keep their times."""
    to = WORK / name
    for part in COPIED:
        source = ROOT / part
        if not source.exists():
            continue
        files = [source] if source.is_file() else [f for f in source.rglob("*") if f.is_file()]
        for file in files:
            write(to / file.relative_to(ROOT), file.read_bytes())
    manifest = (ROOT / "Cargo.toml").read_text()
    manifest = re.sub(r"members = \[[^\]]*\]", 'members = [".", "loom-tests"]', manifest)
    # Another version, or cargo takes what it has built of one tree for what it would build of another: it
    # compares times, and knows a package of the workspace by its name and version.
    manifest = re.sub(r'^version = "([^"]*)"', rf'version = "\1-{name}"', manifest, count=1, flags=re.M)
    write(to / "Cargo.toml", manifest.encode())
    return to


def write(path, content):
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def build(tree):
    """Builds the models of a copy; returns the binary, or None if it does not compile."""
    environment = dict(os.environ, RUSTFLAGS="--cfg inflight_loom", CARGO_TARGET_DIR=str(BUILT))
    command = ["cargo", "build", "--quiet", "--offline", "--profile", "loom", "-p", "inflight-loom-tests"]
    built = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if built.returncode:
        print(built.stderr, file=sys.stderr)
        return None
    binary = WORK / f"models-{tree.name}"
    shutil.copy2(BUILT / "loom" / "inflight-loom-tests", binary)
    return binary


def build_switched():
    tree = copy_tree("switched")
    by_file = {}
    for number, site in enumerate(sites()):
        by_file.setdefault(site.file, []).append((number, site))
    for file, in_file in by_file.items():
        text = (ROOT / file).read_text()
        for number, site in reversed(in_file):
            ordering = text[site.start : site.end]
            text = f"{text[:site.start]}crate::sync::weakened({number}, {ordering}){text[site.end:]}"
        write(tree / file, text.encode())
    switched = (tree / "src/sync/mod.rs").read_text()
    if SWITCH not in switched:
        write(tree / "src/sync/mod.rs", (switched + SWITCH).encode())
    return build(tree) or sys.exit("the store with switches does not compile")


def build_mutant(mutation):
    tree = copy_tree("mutated")
    for file, text in mutated(mutation).items():
        write(tree / file, text.encode())
    return build(tree) or sys.exit(f"mutation {mutation['name']!r} does not compile")


def killer(binary, models, seconds, choice=None):
    """The first of these models that fails; None if all are complete, or the time is up."""
    environment = dict(os.environ)
    environment.pop("INFLIGHT_WEAKEN", None)
    if choice:
        environment["INFLIGHT_WEAKEN"] = choice
    command = [str(binary), "--share", "--first", "--limit", str(20 * seconds), *models]
    # Seconds of the processor, not of the clock, so that other load on the machine does not matter.
    limit = (resource.RLIMIT_CPU, (seconds, seconds + 5))
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(*limit)
    )
    output, code = run.stdout, run.returncode
    if code == -signal.SIGXCPU:
        return None
    if code == 2:
        sys.exit(run.stderr)
    begun = re.findall(r"^begin (\w+)", output, re.M)
    failed = code != 0 and begun and "TRUNCATED" not in output
    return begun[-1] if failed else None


def models_by_cost(binary, progress):
    """All models, the cheap ones first. They run on the unbroken store, where none may fail."""
    if progress.models:
        return progress.models
    run = subprocess.run([str(binary), "--share"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"the models fail on the unbroken store:\n{run.stdout}")
    took = re.findall(r"^(\w+) +\d+ executions +\d+ preemptions +([\d.]+) s", run.stdout, re.M)
    progress.models = [name for name, _ in sorted(took, key=lambda model: float(model[1]))]
    return progress.models


# ---- the commands -------------------------------------------------------------------------------


class Progress:
    """The results for this state of the store, and the models that failed the last time, to try them first.

    Results stay valid when a model is added or improved: `verify` runs the models in the table again.
    """

    def __init__(self):
        self.path = WORK / "progress.json"
        self.tree = hashlib.sha256()
        for file in sorted((ROOT / "src").rglob("*.rs")):
            self.tree.update(file.read_bytes())
        stored = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.hints = stored.get("hints", {}) | {row: by for row, by in table().items() if by.startswith("i")}
        self.mutants = stored.get("mutants", {})
        same = stored.get("tree") == self.tree.hexdigest()
        self.found = stored.get("found", {}) if same else {}
        self.models = stored.get("models", []) if same else []

    def note(self, row, by):
        self.found[row] = by
        if by:
            self.hints[row] = by
        WORK.mkdir(parents=True, exist_ok=True)
        stored = {"tree": self.tree.hexdigest(), "found": self.found}
        stored |= {"models": self.models, "hints": self.hints, "mutants": self.mutants}
        self.path.write_text(json.dumps(stored, indent=1, ensure_ascii=False))


def try_one(progress, row, models, seconds, binary, choice=None):
    hint = [progress.hints[row]] if progress.hints.get(row) in models else []
    begun = time.monotonic()
    by = killer(binary, hint + [model for model in models if model not in hint], seconds, choice)
    progress.note(row, by)
    print(f"{row}: {by or 'SURVIVES'} ({time.monotonic() - begun:.0f} s)", flush=True)


def run(arguments):
    progress = Progress()
    for mutation in entries().get("mutation", []):
        mutated(mutation)  # Checks, before anything is built, that its text is there.
    binary = build_switched()
    models = models_by_cost(binary, progress)
    argued = {survivor["row"] for survivor in entries().get("survivor", [])}
    for row, number, weaker in weakenings():
        if not progress.found.get(row) and not (row in argued and row in progress.found):
            try_one(progress, row, models, arguments.seconds, binary, f"{number}={weaker}")
    for mutation in entries().get("mutation", []):
        row, changed = mutation["name"], mutated(mutation)
        # A mutation whose text has changed is a new one.
        digest = hashlib.sha256(json.dumps(changed).encode()).hexdigest()
        if progress.mutants.get(row) == digest and progress.found.get(row):
            continue
        progress.mutants[row] = digest
        mutant = build_mutant(mutation)
        try_one(progress, row, models, arguments.seconds, mutant)
    write_table(progress.found)
    return check(arguments)


def add(arguments):
    """As `run`, of what is new only. What the table says of the rest is for `verify` to try again."""
    models = models_in_source()
    known = {row: by for row, by in table().items() if by in models or not by.startswith("i")}
    found = {row: by if by.startswith("i") else None for row, by in known.items()}

    def try_new(row, binary, choice=None):
        found[row] = killer(binary, models_in_order(binary, arguments.first), arguments.seconds, choice)
        print(f"{row}: {found[row] or 'SURVIVES'}", flush=True)

    new = [weakening for weakening in weakenings() if weakening[0] not in known]
    if new:
        binary = build_switched()
        for row, number, weaker in new:
            try_new(row, binary, f"{number}={weaker}")
    for mutation in entries().get("mutation", []):
        if mutation["name"] not in known:
            try_new(mutation["name"], build_mutant(mutation))
    write_table(found)
    return check(arguments)


def models_in_order(binary, first):
    """All models, beginning with those that have one of these names."""
    models = subprocess.run([str(binary), "--list"], capture_output=True, text=True, check=True).stdout.split()
    return sorted(models, key=lambda model: not any(name in model for name in first))


def verify(arguments):
    """Whether the model that the table names for a weakening (and a mutation, if asked) still fails."""
    known, binary, wrong = table(), build_switched(), []

    def try_again(row, mutant, choice=None):
        by = known.get(row, "")
        if by.startswith("i") and killer(mutant, [by], arguments.seconds, choice) != by:
            wrong.append(f"{by} does not notice: {row}")

    for row, number, weaker in weakenings():
        try_again(row, binary, f"{number}={weaker}")
    for mutation in entries().get("mutation", []) if arguments.mutations else []:
        try_again(mutation["name"], build_mutant(mutation))
    print("\n".join(wrong))
    return not wrong


def check(_):
    """Whether the table has each weakening and mutation of the present source, and no survivor without
    a reason."""
    known, wrong = table(), []
    models = models_in_source()
    for mutation in entries().get("mutation", []):
        mutated(mutation)
    rows = [row for row, _, _ in weakenings()] + [mutation["name"] for mutation in entries().get("mutation", [])]
    wrong += [f"not in the table: {row}" for row in rows if row not in known]
    wrong += [f"in the table, but not in the source: {row}" for row in known if row not in rows]
    for row, by in known.items():
        if by == "SURVIVES":
            wrong.append(f"survives without a reason: {row}")
        elif by.startswith("i") and by not in models:
            wrong.append(f"no such model: {by}")
    for line in wrong:
        print(line)
    if wrong:
        print("run loom-tests/weaken.py run, and commit WEAKENINGS.md")
    return not wrong


def models_in_source():
    files = (HERE / "src/models").glob("*.rs")
    return {name for file in files for name in re.findall(r"^fn (i\d\w+)", file.read_text(), re.M)}


def table():
    """The table: row → the model, or the reason."""
    if not TABLE.exists():
        return {}
    known = {}
    for line in TABLE.read_text().splitlines():
        cells = line.strip("| ").split(" | ")
        if line.startswith("| ") and len(cells) > 1 and cells[-1] not in ("noticed by", "---"):
            known[cells[0]] = re.sub(r"^`(\w+)`$", r"\1", cells[-1])
    return known


def write_table(found):
    reasons = {survivor["row"]: survivor["reason"] for survivor in entries().get("survivor", [])}

    def by(row):
        return f"`{found[row]}`" if found[row] else reasons.get(row, "SURVIVES")

    rows = [row for row, _, _ in weakenings()]
    relaxed = sum(site.ordering == "Relaxed" for site in sites())
    mutations = entries().get("mutation", [])
    lines = [
        "# What the models notice",
        "",
        "Generated by `weaken.py run`; `ci/loom.sh` checks that it is current. Each row is one change that",
        "breaks the store, and the first model that fails with it.",
        "",
        "## Orderings",
        "",
        f"{len(sites()) - relaxed} sites name an ordering that could be weaker; {relaxed} are Relaxed already.",
        "",
        "| site | noticed by |",
        "| --- | --- |",
        *[f"| {row} | {by(row)} |" for row in rows],
        "",
        "## Mutations of the protocol",
        "",
        "| mutation | what is wrong | noticed by |",
        "| --- | --- | --- |",
        *[f"| {m['name']} | {m['what']} | {by(m['name'])} |" for m in mutations],
        "",
    ]
    TABLE.write_text("\n".join(lines))


def list_sites(_):
    for row, _, _ in weakenings():
        print(row)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = {"sites": list_sites, "run": run, "add": add, "verify": verify, "check": check}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--seconds", type=int, default=240, help="how many seconds of a processor the models get for one change")
    parser.add_argument("--first", action="append", default=[], metavar="NAME", help="for add: models to try first")
    parser.add_argument("--mutations", action="store_true", help="verify the mutations, too: a build for each")
    arguments = parser.parse_args()
    sys.exit(0 if commands[arguments.command](arguments) else 1)


if __name__ == "__main__":
    main()
