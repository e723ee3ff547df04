"""Records loads, plans, places and moves experts: check_placement.py ARTIFACT SCRATCH. With `touched` for SCRATCH: each of three ranks
reads the weights of its own experts and what all share, and nothing else."""

import json
import subprocess
import sys

import golden_data as data

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n"]
PROMPT = ["-p", "def add(a, b):\n    return", "-n", "48", "--ignore-eos", "-t", "1"]


def text(artifact, ranks, *flags):
    launch = MPIRUN + [str(ranks)] if ranks else []
    return data.run(*launch, "moray-run", artifact, *PROMPT, *flags)


def load(path):
    with open(path) as file:
        return json.load(file)


def refused(artifact, scratch, plan, code, *parts):
    """A run with this placement ends with exit code 2 and a sentence that holds the parts."""
    path = scratch + ".bad.json"
    with open(path, "w") as file:
        json.dump(plan, file)
    result = subprocess.run(["moray-run", artifact, *PROMPT, "--force-dist", "--placement=" + path], capture_output=True, timeout=5)
    error = result.stderr.decode()
    if result.returncode != 2 or "error[%s]" % code not in error or any(part not in error for part in parts):
        sys.exit("exit code %d instead of 2, or not %s, %s:\n%s" % (result.returncode, code, parts, error))


def refuseAll(artifact, scratch, plan):
    slots = plan["layers"][0]["slots"]
    one = dict(plan, ranks=1)
    changed = lambda values: dict(one, layers=[dict(plan["layers"][0], slots=values)] + plan["layers"][1:])
    other = {3: 4}
    bad = [
        (plan, "E5112", "for 4 ranks", "has 1 on 1"),
        (changed([16] + slots[1:]), "E1010", "layer 1: entry 0", "is 16, expected a whole number from 0 to 15"),
        (changed([other.get(s, s) for s in slots]), "E1010", "layer 1 has no slot for expert 3, while expert"),
        (changed(slots + [0]), "E1010", "layer 2 has 20 slots, layer 1 has 21"),
        (dict(one, layers=plan["layers"][1:]), "E1010", "has no layer 1", "layers 1 to 5"),
        (dict(one, layers=plan["layers"] + [{"layer": 6, "slots": slots}]), "E1010", "has layer 6", "layers 1 to 5"),
        (dict(one, layers=plan["layers"] + [plan["layers"][0]]), "E1010", "layer 1 is there twice"),
        (dict(one, experts=17, layers=[dict(l, slots=l["slots"] + [16]) for l in plan["layers"]]), "E1010", "places 17", "has 16"),
        (dict(one, schema="moray.loads/1"), "E1010", "moray.placement/1"),
    ]
    for case in bad:
        refused(artifact, scratch, *case)
    print("refused: %d placements" % len(bad))


def main(artifact, scratch):
    expected = text(artifact, 0)
    loads, alone, file = (scratch + end for end in (".loads.json", ".alone.json", ".place.json"))
    found = [text(artifact, 4, "--record-loads", loads), text(artifact, 1, "--force-dist", "--record-loads", alone)]
    if load(loads) != load(alone):
        sys.exit("loads of 4 ranks differ from those of one: %s, %s" % (load(loads), load(alone)))
    sums = [sum(layer["loads"]) for layer in load(loads)["layers"]]
    if set(sums) != {sums[0]} or sums[0] % 4 != 0:
        sys.exit("every row has four experts in every layer, but the loads add up to %s" % sums)
    print("loads of 4 ranks: %d rows, as on one" % (sums[0] // 4))
    data.run("moray-plan", "--loads", loads, "--ranks", "4", "--slots-per-rank", "5", "--artifact", artifact, "-o", file)
    found += [text(artifact, 4, "--placement=" + file), text(artifact, 4, "--swap-placement=%s@4" % file)]
    if any(f != expected for f in found):
        sys.exit("%r instead of %r" % (found, expected))
    print("planned, and changed while serving: the same text")
    refuseAll(artifact, scratch, load(file))


def touched(artifact):
    ids = ",".join(map(str, range(96)))
    out = data.run(*MPIRUN, "3", "moray-check-batches", "--group", "--touched", artifact, ids, ids, ids)
    print(out.decode())


if sys.argv[2] == "touched":
    touched(sys.argv[1])
else:
    main(*sys.argv[1:])
