"""Runs a command that must end with an exact exit status, without output on stdout unless it is 0: expect.py STATUS COMMAND...

Prints stdout and stderr together for FileCheck. A command that takes longer than a minute is stopped and counts as a hang.
"""

import subprocess
import sys

expected, command = int(sys.argv[1]), sys.argv[2:]
try:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)
except subprocess.TimeoutExpired:
    sys.exit("hangs: " + " ".join(command))
sys.stdout.write(result.stdout.decode(errors="replace") + result.stderr.decode(errors="replace"))
if result.returncode != expected:
    sys.exit("exit status %d, expected %d: %s" % (result.returncode, expected, " ".join(command)))
if expected and result.stdout:
    sys.exit("a failed command wrote to stdout: " + " ".join(command))
