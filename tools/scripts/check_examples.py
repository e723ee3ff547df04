#!/usr/bin/env python3
"""Checks that a test holds every ```mlir example of the op descriptions of a dialect, so that no example goes stale.

Usage: check_examples.py DIALECT_FOLDER TEST.mlir. An example counts as held when its lines, without indentation, follow each other in
the test. Prints the examples that are missing and exits 1.
"""

import glob
import os
import re
import sys

EXAMPLE = re.compile(r"```mlir\n(.*?)```", re.DOTALL)


def stripped(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def holds(lines, example):
    return any(lines[i:i + len(example)] == example for i in range(len(lines) - len(example) + 1))


def main(folder, test):
    with open(test, encoding="utf-8") as file:
        lines = stripped(file.read())
    missing = found = 0
    for path in sorted(glob.glob(os.path.join(folder, "*.td"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for match in EXAMPLE.finditer(text):
            found += 1
            if holds(lines, stripped(match.group(1))):
                continue
            missing += 1
            line = text.count("\n", 0, match.start()) + 1
            print("%s:%d: example: not in %s; fix: lift it into the test\n%s" % (path, line, test, match.group(1)))
    if found == 0:
        print("%s: no examples found; fix: name a folder of .td files" % folder)
    return 1 if missing or found == 0 else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
