"""Sends SIGINT to a running command and checks that it stops soon: interrupt.py MODE STATUS COMMAND...

MODE `output` waits for the first byte on stdout, `progress` for the first byte on stderr, a number waits so many seconds.
"""

import signal
import subprocess
import sys
import time

mode, expected, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
if mode == "output":
    process.stdout.read(1)
elif mode == "progress":
    process.stderr.read(1)
else:
    time.sleep(float(mode))
process.send_signal(signal.SIGINT)
begin = time.time()
try:
    process.communicate(timeout=20)
except subprocess.TimeoutExpired:
    process.kill()
    sys.exit("still running 20 s after SIGINT: " + " ".join(command))
print("stopped after %.2f s with status %d" % (time.time() - begin, process.returncode))
if process.returncode != expected:
    sys.exit("expected status %d" % expected)
