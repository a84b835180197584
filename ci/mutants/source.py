"""The code that is judged, and its mutants."""

import collections
import fnmatch
import hashlib
import json
import re
import subprocess
import sys
import tomllib

from paths import ROOT, WHICH


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
