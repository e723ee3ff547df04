"""Interrupts an MPI job as a whole, by its first rank, and while it waits for a rank: it ends soon, without an error or anything left:
check_rank_interrupt.py ARTIFACT SCRATCH."""

import glob
import os
import shutil
import signal
import subprocess
import sys
import time

RANKS, SECONDS = 3, 5
RANK = """echo $$ > "$2.pid.$OMPI_COMM_WORLD_RANK"; [ "$3" = "$OMPI_COMM_WORLD_RANK" ] && exec sleep 60
exec moray-run "$1" --tokens 1,2,3 -n 100000 --ignore-eos -t 1"""
artifact, scratch = sys.argv[1:]


def waitFor(what, condition):
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            sys.exit("%s: not within 30 s" % what)
        time.sleep(0.02)


def interrupt(name, absent, ready, target, expected):
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch + "/t")
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS), "sh", "-c", RANK, "sh", artifact, scratch + "/p", absent]
    with open(scratch + "/out", "w") as out, open(scratch + "/err", "w") as err:
        job = subprocess.Popen(command, env=dict(os.environ, TMPDIR=scratch + "/t"), stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    waitFor(name, ready)
    begin = time.monotonic()
    os.kill(target(job), signal.SIGINT)
    code = job.wait(30)
    seconds = time.monotonic() - begin
    with open(scratch + "/err") as file:
        messages = file.read()
    pids = [int(open(path).read()) for path in glob.glob(scratch + "/p.pid.*")]
    left = os.listdir(scratch + "/t") + [str(p) for p in pids if os.path.exists("/proc/%d/exe" % p) and os.access("/proc/%d/exe" % p, os.R_OK)]
    print("%s: code %d after %.1f s" % (name, code, seconds))
    if seconds > SECONDS or code not in expected or left or "stalled" in messages or "lost" in messages:
        sys.exit("%s\nleft: %s\nmessages: %s" % (name, left, messages))


def writing():
    return os.path.getsize(scratch + "/out") > 0


def firstRank(job):
    return int(open(scratch + "/p.pid.0").read())


interrupt("rank 0 interrupted", "none", writing, firstRank, [130])
# mpirun ends with a code of its own.
interrupt("job interrupted", "none", writing, lambda job: job.pid, [1, 130, 143])
interrupt("job interrupted while rank 2 is absent", "2", lambda: glob.glob(scratch + "/t/ompi.*/*/moray-*"), lambda job: job.pid, [1, 130, 143])
