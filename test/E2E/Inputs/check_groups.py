"""Runs prompts on groups of ranks and compares every bit with one process: check_groups.py GOLDEN_DIR ARTIFACT RANKS,RANKS... SCRATCH [FLAGS].

The flags are those of the ranks."""

import sys

import golden_data as data

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n"]
TEXT = "def add(a, b):\n    return a + b\n\n\nfor line in open(name):\n    print(line.strip(), len(line), sum(range(10)))\n"


def prompts(folder):
    golden = data.readGolden(folder)
    ids = golden["prompt_ids"] if "prompt_ids" in golden else [p["prompt_ids"] for p in golden["prompts"]]
    # More sequences than ranks, of several lengths; the number of ranks divides them or not.
    return (ids + [p[: 1 + len(p) // 2] for p in ids] + [ids[0][:1], ids[-1][:33]])[:9]


def outputs(launch, artifact, ids, scratch, *flags):
    """What moray-run prints and writes: text, logits, log-probabilities of windows, which lie on alternating ranks."""
    text = data.run(*launch, "moray-run", artifact, "--tokens", ids, "-n", "16", "--ignore-eos", "-t", "1", *flags)
    npy = scratch + ".npy"
    data.run(*launch, "moray-run", artifact, "--tokens", ids, "--logits", npy, "-t", "1", *flags)
    with open(npy, "rb") as file:
        logits = file.read()
    score = data.run(*launch, "moray-run", artifact, "--score", scratch + ".txt", "--window", "16", "--json", "-t", "1",
                     *flags)
    return {"text": text, "logits": logits, "score": score}


def checkSums(launch, artifact, ids, scratch, flags):
    """Sums of ranks and nodes: near the exact results, and the same in every run."""
    def logits(start, *more):
        data.run(*start, "moray-run", artifact, "--tokens", ids, "--logits", scratch + ".npy", "-t", "1", *more)
        return data.readNpy(scratch + ".npy")[1]

    exact = logits([])
    for mode in "rank_sum", "node_sum":
        runs = [logits(launch, "--nodes=2", "--combine=" + mode, *flags) for _ in range(2)]
        distance = data.simdiff(runs[0], exact)
        print("%s: simdiff %.1e to exact" % (mode, distance))
        if runs[0] != runs[1] or distance > 1e-3:
            sys.exit("%s of %s differs from run to run, or too much from exact" % (mode, artifact))


def main(folder, artifact, ranks, scratch, flags):
    with open(scratch + ".txt", "w") as file:
        file.write(TEXT)
    ids = [",".join(map(str, p)) for p in prompts(folder)]
    expected = outputs([], artifact, ids[0], scratch)
    for count in ranks:
        force = (["--force-dist"] if count == "1" else []) + flags
        launch = MPIRUN + [count]
        out = data.run(*launch, "moray-check-batches", "--group", *force, artifact, *ids)
        print(out.decode().strip())
        # Replicas, spare slots and experts anywhere, which change places all the time; two micro-batches, two nodes.
        others = ([] if count == "1" or "--overlap=on" in flags else ["--overlap=on"]) + (["--nodes=2"] if int(count) % 2 == 0 else [])
        out = data.run(*launch, "moray-check-batches", "--group", *force, "--placements", count, *others, artifact, *ids)
        print(out.decode().strip())
        if int(count) > 4:
            continue
        found = outputs(launch, artifact, ids[0], scratch, *force)
        for name in expected:
            if found[name] != expected[name]:
                sys.exit("%s on %s ranks: %r, in one process: %r" % (name, count, found[name][:400], expected[name][:400]))
        if count == "4":
            checkSums(launch, artifact, ids[0], scratch, force)


main(sys.argv[1], sys.argv[2], sys.argv[3].split(","), sys.argv[4], sys.argv[5:])
