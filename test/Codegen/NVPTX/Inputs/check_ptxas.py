"""Assembles every PTX file of a folder: check_ptxas.py PTXAS DIR.

No kernel may spill or use a stack, and row kernels, router, permute, sampling and exchange hold no approximate or flushing instruction: their bits
are the CPU's. Prints the registers of each kernel class.
"""

import os
import re
import subprocess
import sys

EXACT = ("row_", "router_", "permute_", "sampling_", "exchange_")
APPROXIMATE = re.compile(r"\.(approx|ftz)\b")

ptxas, folder = sys.argv[1:3]
registers = {}
names = sorted(name for name in os.listdir(folder) if name.endswith(".ptx"))
if not names:
    sys.exit("%s holds no PTX" % folder)
for name in names:
    path = os.path.join(folder, name)
    with open(path) as file:
        text = file.read()
    if name.startswith(EXACT):
        for number, line in enumerate(text.splitlines(), 1):
            if APPROXIMATE.search(line):
                sys.exit("%s:%d: %s" % (name, number, line.strip()))
    target = re.search(r"^\.target (sm_\w+)", text, re.M).group(1)
    result = subprocess.run([ptxas, "-arch=" + target, "-v", path, "-o", os.devnull], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    log = result.stdout.decode(errors="replace")
    if result.returncode:
        sys.exit("%s: %s" % (name, log))
    for stack, stores, loads in re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log):
        if (stack, stores, loads) != ("0", "0", "0"):
            sys.exit("%s: %s bytes of stack, %s and %s bytes of spills\n%s" % (name, stack, stores, loads, log))
    used = [int(count) for count in re.findall(r"Used (\d+) registers", log)]
    if not used:
        sys.exit("%s: no entry point\n%s" % (name, log))
    registers.setdefault(name.rsplit("_", 1)[0], []).extend(used)
for kind, used in sorted(registers.items()):
    print("%s: %d entry points, %d to %d registers" % (kind, len(used), min(used), max(used)))
