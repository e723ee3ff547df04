"""Kills or stops one rank in the middle of a run: the others end with exit code 9 and name it in time: check_rank_loss.py ARTIFACT SCRATCH."""

import os
import shutil
import signal
import subprocess
import sys
import time

DEADLINE = 2.0
MARGIN = 3.0  # a second is meant; the suite shares two cores with other tests
RANKS = 3
# Each rank leaves its process id, its messages and its exit status; the shells end together, as mpirun ends the job with the
# first that does.
WRAPPER = """moray-run "$1" --tokens 1,2,3 -n 100000 --ignore-eos -t 1 --deadline-ms %d > "$2/out.$OMPI_COMM_WORLD_RANK" 2> "$2/err.$OMPI_COMM_WORLD_RANK" &
echo $! > "$2/pid.$OMPI_COMM_WORLD_RANK"
wait $!
echo $? > "$2/exit.tmp.$OMPI_COMM_WORLD_RANK"
mv "$2/exit.tmp.$OMPI_COMM_WORLD_RANK" "$2/exit.$OMPI_COMM_WORLD_RANK"
while [ ! -e "$2/done" ]; do sleep 0.05; done
""" % int(DEADLINE * 1000)


def waitFor(what, condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit("%s: not within %.1f s" % (what, seconds))
        time.sleep(0.01)


def read(*parts):
    with open(os.path.join(*parts), errors="replace") as file:
        return file.read()


def lose(artifact, folder, victim, number):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS), "sh", "-c", WRAPPER, "sh", artifact, folder]
    job = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    out = os.path.join(folder, "out.0")
    waitFor("the first text", lambda: os.path.exists(out) and os.path.getsize(out) > 0, 60)
    pid = int(read(folder, "pid.%d" % victim))
    os.kill(pid, number)
    name = "rank %d, %s" % (victim, number.name)
    survivors = [r for r in range(RANKS) if r != victim]
    begin = time.monotonic()
    waitFor(name, lambda: all(os.path.exists(os.path.join(folder, "exit.%d" % r)) for r in survivors), DEADLINE + MARGIN)
    seconds = time.monotonic() - begin
    if number == signal.SIGSTOP:
        os.kill(pid, signal.SIGKILL)
    open(os.path.join(folder, "done"), "w").close()
    job.wait(30)
    for r in survivors:
        code, message = int(read(folder, "exit.%d" % r)), read(folder, "err.%d" % r)
        if code != 9 or "rank %d" % victim not in message:
            sys.exit("%s: rank %d ended with %d: %s" % (name, r, code, message))
    print("%s: the others ended after %.1f s: %s" % (name, seconds, read(folder, "err.%d" % survivors[-1]).strip()))


for rank in range(RANKS):
    lose(sys.argv[1], sys.argv[2], rank, signal.SIGKILL)
lose(sys.argv[1], sys.argv[2], 1, signal.SIGSTOP)
lose(sys.argv[1], sys.argv[2], 0, signal.SIGSTOP)
