#!/usr/bin/env python3
"""Prints the C program of a Markdown file, so that a test can compile what readers will copy: extract_example.py README.md."""

import re
import sys

blocks = re.findall(r"^```c\n(.*?)^```$", open(sys.argv[1], encoding="utf-8").read(), re.S | re.M)
if len(blocks) != 1:
    sys.exit("%s: found %d blocks of C, expected one" % (sys.argv[1], len(blocks)))
if blocks[0].count("\n") >= 80:
    sys.exit("%s: the example has %d lines, it should stay under 80" % (sys.argv[1], blocks[0].count("\n")))
sys.stdout.write(blocks[0])
