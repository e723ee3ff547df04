"""Checks size and dependencies of an installed libmoray_runtime.so: check_library.py PREFIX STRIPPED_OUTPUT."""

import glob
import os
import re
import subprocess
import sys

MAX_BYTES = 500 * 1000
ALLOWED = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libgcc_s.so.1", "libstdc++.so.6", "ld-linux-x86-64.so.2"}

libraries = [p for p in glob.glob(sys.argv[1] + "/**/libmoray_runtime.so*", recursive=True) if not os.path.islink(p)]
if len(libraries) != 1:
    sys.exit("expected one library, found %s" % libraries)
subprocess.check_call(["llvm-strip", "--strip-unneeded", "-o", sys.argv[2], libraries[0]])
size = os.path.getsize(sys.argv[2])
dynamic = subprocess.check_output(["llvm-readelf", "-d", libraries[0]], text=True)
needed = set(re.findall(r"Shared library: \[([^\]]+)\]", dynamic))
symbols = subprocess.check_output(["llvm-nm", "-D", "--defined-only", libraries[0]], text=True)
foreign = [line for line in symbols.splitlines() if not re.search(r" moray_\w+$", line)]
print("libmoray_runtime.so: %d bytes stripped, needs %s" % (size, ", ".join(sorted(needed))))
if size > MAX_BYTES:
    sys.exit("the stripped library has %d bytes, at most %d are allowed" % (size, MAX_BYTES))
if needed - ALLOWED:
    sys.exit("the library needs %s" % ", ".join(sorted(needed - ALLOWED)))
if foreign:
    sys.exit("the library exports more than the C API:\n" + "\n".join(foreign[:20]))
