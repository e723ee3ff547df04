"""interrupt_make_model.py DIR: starts a long run, interrupts it, prints the exit status and the message; DIR must hold no weights then."""

import glob
import signal
import subprocess
import sys
import time

run = subprocess.Popen(["moray-make-model", "s", "-o", sys.argv[1]], stderr=subprocess.PIPE, text=True)
deadline = time.time() + 30
while not glob.glob(sys.argv[1] + "/*.safetensors") and time.time() < deadline:
    time.sleep(0.05)
time.sleep(0.2)
run.send_signal(signal.SIGINT)
errors = run.communicate(timeout=60)[1]
print("exit", run.returncode)
print(errors)
assert not glob.glob(sys.argv[1] + "/*.safetensors")
