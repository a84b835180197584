#!/usr/bin/env python3
"""Comments on atomic operations name the operation that they pair with. Each name must be that of a function
in src/ that does an atomic operation itself, so it must be updated when functions are renamed or split."""

import pathlib
import re
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "src"


def closed(text, at, brackets):
    """Where the bracket closes that was opened just before `at`."""
    depth = 1
    while depth and at < len(text):
        depth += {brackets[0]: 1, brackets[1]: -1}.get(text[at], 0)
        at += 1
    return at


def functions(text):
    """The name and the body of each function."""
    for found in re.finditer(r"\bfn (\w+)", text):
        parameters = closed(text, text.index("(", found.end()) + 1, "()")
        opening = re.compile(r"[{;]").search(text, parameters)
        if opening is None or opening.group() == ";":
            continue
        yield found.group(1), text[opening.end() : closed(text, opening.end(), "{}")]


def comments(text):
    """Each run of comment lines inside a function, as one line, and where it begins."""
    for found in re.finditer(r"(?:^[ ]*// .*\n)+", text, re.M):
        words = re.sub(r"\s*// ", " ", found.group()).replace("\n", " ")
        yield text[: found.start()].count("\n") + 1, words


def main():
    files = {path: path.read_text() for path in sorted(SOURCE.rglob("*.rs"))}
    # A name that the file itself defines means that function; otherwise it means any of the crate's.
    everywhere, own = {}, {}
    for path, text in files.items():
        for name, body in functions(text):
            for known in (everywhere, own.setdefault(path, {})):
                known[name] = known.get(name, False) or "Ordering::" in body
    named, wrong = 0, []
    for path, text in files.items():
        for line, words in comments(text):
            for sentence in re.findall(r"\bpairs? with\b[^.;:]*", words):
                for name in re.findall(r"`(?:\w+::)*(\w+)`", sentence):
                    named += 1
                    if not own.get(path, {}).get(name, everywhere.get(name, False)):
                        wrong.append(f"{path.relative_to(SOURCE.parent)}:{line}: `{name}` does no atomic operation")
    print("\n".join(wrong))
    if named < 30:
        print(f"only {named} partners are named: the pattern does not find them")
    return not wrong and named >= 30


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
