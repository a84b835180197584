"""The copies of the tree that mutants are put into, and how they are built."""

import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from paths import ROOT, WORK, write
from source import digest, protocol_files

# Tests that need a process of their own: the panic hook is the process's.
ALONE = {"panic_hook"}
COPIED = [".cargo", "Cargo.lock", "Cargo.toml", "README.md", "examples", "loom-tests", "proofs", "src", "tests"]


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
        if path.stem in ALONE:
            continue
        name = path.stem if path.stem != "main" else path.parent.name
        modules.append(f'#[path = "../tests/{path.relative_to(tree / "tests")}"]\nmod {name};\n')
        folder = tree / "tests" / name
        for file in {path, *(folder.rglob("*.rs") if folder.is_dir() else [])}:
            write(file, re.sub(r"\bcrate::", f"crate::joined_tests::{name}::", file.read_text()).encode())
    library = (tree / "src/lib.rs").read_text()
    joined = "\n#[cfg(test)]\nextern crate self as inflight;\n#[cfg(test)]\nmod joined_tests;\n"
    write(tree / "src/lib.rs", (library + joined).encode())
    write(tree / "src/joined_tests.rs", "".join(modules).encode())


def scratch_folder():
    """A folder that goes with this process. Those of processes that were killed go now."""
    WORK.mkdir(parents=True, exist_ok=True)
    for old in WORK.glob("scratch-*"):
        if not pathlib.Path("/proc", old.name.split("-")[1]).exists():
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.TemporaryDirectory(dir=WORK, prefix=f"scratch-{os.getpid()}-")


class Snapshot:
    """The tree as it was when this process began. What is changed meanwhile does not disturb it."""

    def __init__(self):
        self.folder = scratch_folder()
        self.tree = pathlib.Path(self.folder.name)
        copy_tree(self.tree, ROOT)
        self.files = {file: digest(file, self.tree) for file in protocol_files(self.tree)}
        whole = hashlib.sha256()
        for file in sorted(self.tree.rglob("*")):
            if file.suffix in (".rs", ".toml", ".lock"):
                whole.update(str(file.relative_to(self.tree)).encode() + file.read_bytes())
        self.digest = whole.hexdigest()


class Worker:
    """A copy of the tree, with a target directory for each stage. Each is used by one process at a time."""

    def __init__(self, snapshot):
        self.snapshot, self.home = snapshot, self.free_home()
        joined = scratch_folder()
        copy_tree(pathlib.Path(joined.name), snapshot.tree)
        join_tests(pathlib.Path(joined.name))
        # What is there already as it should be is not written again, so cargo need not build it again.
        self.tree = self.home / "tree"
        copy_tree(self.tree, pathlib.Path(joined.name))

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

    def seed(self, stage, other):
        """Takes over what another worker has built for a stage: what the tree depends on is built once."""
        if self is not other and not (self.home / stage).exists():
            shutil.copytree(other.home / stage, self.home / stage, symlinks=True)

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
