"""Kills, stops and delays ranks of an MPI job from its start to its end: check_rank_faults.py ARTIFACT SCRATCH FAULTY REAL [all].

FAULTY is the communicator library that fails on demand, REAL the one that it wraps. Each survivor has to name rank and operation, exit
with code 9 within the deadline and a second, and leave nothing; a delay below the deadline has to change nothing."""

import glob
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

DEADLINE, MARGIN = 1.0, 1.0
RANKS, AT_ONCE = 3, 3
DELAYS = {"slow": 3000, "late": 400}  # beyond the deadline, within it
PLACES = {
    "init": r"did not join|found no rank 0",
    "open": r"(during|in) load",
    "before": r"(during|in) dispatch of layer",
    # A rank that has all rows it needs goes on to the agreement before the next step.
    "inside": r"(during|in) ((dispatch|combine) of layer|agreement)",
    "after": r"(during|in) ((dispatch|combine) of layer|agreement)",
    "close": r"(during|in) shutdown",
}
ACTIONS = ["kill", "stop", "slow"]
EXCHANGE = 20  # four times the number of the start: the dispatch of the first layer with experts in step 2
# Each rank leaves its process id, its messages and its exit status; the shells end together, as mpirun ends the job with the first that
# does. A rank with a fault at the start has it before it becomes moray-run.
RANK = """cd "$1"; r=$OMPI_COMM_WORLD_RANK; echo $PMIX_NAMESPACE > job
[ "$2" = "$r" ] && start=$3 || start=true
export MORAY_FAULT_LIBRARY=$6
sh -c 'echo $$ > pid.$1; '"$start"'; exec moray-run "$2" --tokens 1,2,3 -n 8 --ignore-eos -t 1 --deadline-ms %d --comm-library "$3"' \\
  sh $r "$4" "$5" > out.$r 2> err.$r &
wait $!; code=$?; echo $code > exit.tmp.$r; mv exit.tmp.$r exit.$r
while [ ! -e done ]; do sleep 0.02; done
exit $code""" % int(DEADLINE * 1000)
STARTS = {"kill": "kill -KILL $$", "stop": "kill -STOP $$", "slow": "sleep 3", "late": "sleep 0.4"}


def read(*parts):
    with open(os.path.join(*parts), errors="replace") as file:
        return file.read()


def waitFor(what, condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("%s: not within %.1f s" % (what, seconds))
        time.sleep(0.02)


def runs(pid):
    try:
        return read("/proc/%d/stat" % pid).rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def ends(job):
    """Open MPI 4.1 now and then waits for itself for ever after a rank was killed while it started."""
    try:
        job.wait(10)
        return True
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()
        return False


def checkSurvivors(folder, place, victim, survivors):
    """Seconds from the fault to the last survivor's end."""
    for rank in survivors:
        code, message = int(read(folder, "exit.%d" % rank)), read(folder, "err.%d" % rank)
        named = re.search(r"error\[E510[467]\]: .*?(found no )?rank (\d+)(?! of \d+ found)", message)
        if code != 9 or not named or int(named[2]) != victim or not re.search(PLACES[place], message):
            raise AssertionError("rank %d ended with %d: %s" % (rank, code, message))
    begin = os.stat(os.path.join(folder, "fault")).st_mtime
    return max(os.stat(os.path.join(folder, "exit.%d" % rank)).st_mtime for rank in survivors) - begin


def checkClean(folder, temporary, processes, ours):
    waitFor("the end of all processes", lambda: not any(runs(pid) for pid in processes), 5)
    left = glob.glob(temporary + "/" + ours) + glob.glob("/dev/shm/%s.%x.*" % (ours, int(read(folder, "job"))))
    if left:
        raise AssertionError("left behind: %s" % " ".join(left))


def inject(case):
    place, action, victim = case
    name = "%s rank %d at %s" % (action, victim, place)
    folder = os.path.join(scratch, name.replace(" ", "-"))
    temporary = os.path.join(folder, "t")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(temporary)
    fault = os.path.join(folder, "fault")
    exchange = EXCHANGE if place in ("before", "inside", "after") else 0
    environment = dict(os.environ, TMPDIR=temporary)
    environment["MORAY_FAULT"] = "%d %s %d %s %s" % (victim, place, exchange, DELAYS.get(action, action), fault)
    start = "touch fault; " + STARTS[action] if place == "init" else "true"  # mpirun takes a colon for itself
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS), "sh", "-c", RANK, "sh", folder]
    command += [str(victim), start, artifact, faulty, real]
    job = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    survivors = [r for r in range(RANKS) if r != victim or action == "late"]
    try:
        waitFor("the end", lambda: all(os.path.exists(os.path.join(folder, "exit.%d" % r)) for r in survivors), 30)
    finally:
        open(os.path.join(folder, "done"), "w").close()
        hung = not ends(job)
    if not os.path.exists(fault):
        raise AssertionError("%s did not happen" % name)
    seconds = 0
    if action == "late":
        codes = [read(folder, "exit.%d" % r).strip() for r in survivors]
        if codes != ["0"] * RANKS or read(folder, "out.0") != expected:
            raise AssertionError("%s failed: %s %s" % (name, codes, [read(folder, "err.%d" % r) for r in survivors]))
    else:
        seconds = checkSurvivors(folder, place, victim, survivors)
    checkClean(folder, temporary, [int(read(folder, "pid.%d" % r)) for r in range(RANKS)], "moray*" if hung else "*")
    last = read(folder, "err.%d" % survivors[-1]).strip() if action != "late" else "no rank failed"
    shutil.rmtree(folder)
    return name, seconds, last


def attempt(case):
    try:
        return case, inject(case)
    except (AssertionError, OSError) as problem:
        return case, "%s: %s" % (" ".join(map(str, case)), problem)


artifact, scratch, faulty, real = (os.path.abspath(argument) for argument in sys.argv[1:5])
shutil.rmtree(scratch, ignore_errors=True)
expected = subprocess.run(["moray-run", artifact, "--tokens", "1,2,3", "-n", "8", "--ignore-eos", "-t", "1"],
                          check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
if sys.argv[5:] == ["all"]:
    cases = list(itertools.product(PLACES, ACTIONS + ["late"], range(RANKS)))
else:  # each rank at each place, and by each action
    cases = [(p, a, (i + j) % RANKS) for i, p in enumerate(PLACES) for j, a in enumerate(ACTIONS + ["late"])]
begin = time.monotonic()
with ThreadPoolExecutor(AT_ONCE) as pool:
    results = list(pool.map(attempt, cases))
failures = 0
for case, result in results:
    # The machine may have been busy: once more, alone.
    if isinstance(result, str) or result[1] > DEADLINE + MARGIN:
        print("again: %s" % (result if isinstance(result, str) else "%s: %.2f s" % result[:2]))
        case, result = attempt(case)
    late = not isinstance(result, str) and result[1] > DEADLINE + MARGIN
    failures += late or isinstance(result, str)
    print("FAILED " + result if isinstance(result, str) else "%s: %.2f s%s: %s" % (result[:2] + (" TOO LATE" if late else "", result[2])))
print("%d cases in %.1f s" % (len(cases), time.monotonic() - begin))
if failures:
    sys.exit("%d of %d cases failed" % (failures, len(cases)))
