"""Interrupts a compilation at many moments: the artifact is whole or absent, and nothing else stays: interrupt_compile.py CHECKPOINT DIR."""

import os
import signal
import subprocess
import sys
import time



def heedSigint():
    """Test drivers ignore SIGINT and hand that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


checkpoint, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
artifact = os.path.join(folder, "m.moray")
begin = time.time()
subprocess.check_call(["moray-compile", checkpoint, "-o", artifact, "-q"])
duration = time.time() - begin
size = os.path.getsize(artifact)
interrupted = 0
# The writing is in the last part, so most attempts are there.
for index, part in enumerate((0.1, 0.5, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)):
    os.remove(artifact) if os.path.exists(artifact) else None
    process = subprocess.Popen(["moray-compile", checkpoint, "-o", artifact, "-q"], preexec_fn=heedSigint)
    time.sleep(part * duration)
    process.send_signal((signal.SIGINT, signal.SIGTERM)[index % 2])
    process.wait(60)
    interrupted += process.returncode != 0
    if process.returncode not in (0, 130):
        sys.exit("interrupted: status %d, expected 130" % process.returncode)
    left = os.listdir(folder)
    if left not in ([], ["m.moray"]) or (left and os.path.getsize(artifact) != size) or (process.returncode == 0) != bool(left):
        sys.exit("interrupted after %d %%: status %d, left behind: %s" % (100 * part, process.returncode, left))
print("%d of 10 interrupted, nothing left behind" % interrupted)
if not interrupted:
    sys.exit("no attempt hit the compilation")
