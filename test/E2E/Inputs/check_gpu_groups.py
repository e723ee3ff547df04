"""Runs prompts on groups of simulated GPUs: check_gpu_groups.py MODEL_DIR ARTIFACT GPUSIM NCCLSIM SCRATCH. Bits are those of one GPU; a rank
that is lost or whose NCCL fails is named by the others."""

import json
import os
import random
import re
import subprocess
import sys

import golden_data as data

folder, artifact, gpusim, ncclsim, scratch = sys.argv[1:6]
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n"]
GPU = ["--device", "cuda", "--cuda-library", gpusim, "-t", "1"]
OLDER = ncclsim.replace("ncclsim.so", "ncclsim_2_26.so")  # exchanges by single sends
os.environ.update(MORAY_GPUSIM_GRANULARITY="4K", MORAY_GPUSIM_SM="80", MORAY_GPUSIM_EXIT_CODE="99")  # any report, leaks too, ends a tool with 99

prompts = sorted(data.readGolden(folder)["prompt_ids"], key=len)
prompts = [prompts[1][:7], prompts[1][:5], prompts[0][:1], prompts[-1][:11], prompts[1][:3]]
ids = [",".join(map(str, p)) for p in prompts]


def nccl(library=ncclsim):
    return ["--comm", "nccl", "--nccl-library", library, "--deadline-ms", "30000"]


def outputs(launch, *flags):
    command = [*launch, "moray-run", artifact, "--tokens", ids[0], *GPU, *flags]
    text = data.run(*command, "-n", "5", "--ignore-eos")
    npy = scratch + ".npy"
    data.run(*command, "--logits", npy)
    with open(npy, "rb") as file:
        return text, file.read()


def torchrun(ranks, *command):
    """Ranks as torchrun starts them, without MPI."""
    jobs = []
    for rank in range(ranks):
        env = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks))
        jobs.append(subprocess.Popen([*command, "--rendezvous", "file:" + scratch + ".meet"], env=env, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE))
    return [(*job.communicate(), job.returncode) for job in jobs]


expected = outputs([])
batches = ["moray-check-batches", "--group", "--cuda-library", gpusim]
weights = {}  # by number of ranks: (bytes read, bytes held) of each rank


def batch(ranks, *command):
    text = data.run(*command).decode()
    weights[ranks] = [(int(a), int(b)) for a, b in re.findall(r"(\d+) bytes of weights read, (\d+) held", text)]
    print(text.strip())


batch("1", *batches, "--force-dist", artifact, *ids[:2])
for ranks, count in ("2", 5), ("4", 3):
    batch(ranks, *MPIRUN, ranks, *batches, "--nccl-library", ncclsim, artifact, *ids[-count:])
    # One sequence: the other ranks have nothing of their own to compute.
    if outputs(MPIRUN + [ranks], *nccl()) != expected:
        sys.exit("text or logits on %s ranks differ from one" % ranks)
for flags in [*nccl(), "--no-cuda-graphs"], [*nccl(), "--arena", "guarded"], nccl(OLDER):
    if outputs(MPIRUN + ["2"], *flags) != expected:
        sys.exit("text or logits on 2 ranks differ with %s" % " ".join(flags))

# Two micro-batches, whose transfers have a stream of their own: single launches and captured graphs.
overlap = "--overlap=on"
batch("2", *MPIRUN, "2", *batches, "--nccl-library", ncclsim, overlap, artifact, *ids[-3:])
for launch, flags in (MPIRUN + ["2"], nccl()), ([], ["--force-dist"]):
    if outputs(launch, *flags, overlap) != expected:
        sys.exit("text or logits of two micro-batches differ with %s" % " ".join(flags))
graphs = data.run("moray-bench", artifact, *GPU[:-2], "--force-dist", overlap, *"-p 0 -n 2 -b 2 -r 1".split()).decode()
if "decode graph of up to 1 sequences" not in graphs:
    sys.exit("two micro-batches of a sequence each have no graph:\n" + graphs)

# A rank reads its experts and what all ranks have: half of the experts less on two ranks, three quarters less on four.
whole, half, quarter = (weights[ranks][0][0] for ranks in ("1", "2", "4"))
if 3 * (whole - half) != 2 * (whole - quarter) or 4 * (whole - half) < whole:
    sys.exit("of %d bytes of weights a rank reads %d of 2 and %d of 4" % (whole, half, quarter))
for ranks, sizes in weights.items():
    if len(sizes) != int(ranks) or len({read for read, _ in sizes}) != 1 or any(h < r or h > 1.02 * r for r, h in sizes):
        sys.exit("%s ranks read and hold unevenly: %s" % (ranks, sizes))



def place(seed):
    """A placement of 16 experts in layers 1 to 3 on 2 ranks with 2 replicas on each, as a file."""
    shuffle, layers = random.Random(seed), []
    for layer in 1, 2, 3:
        slots = [*range(16), *(shuffle.randrange(16) for _ in range(4))]
        shuffle.shuffle(slots)
        layers.append({"layer": layer, "slots": slots})
    path = "%s.%d.json" % (scratch, seed)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"schema": "moray.placement/1", "experts": 16, "ranks": 2, "nodes": 1, "layers": layers}, file)
    return path


# Experts move while the captured graphs go on.
moves = ["--placement", place(1), "--swap-placement", place(2) + "@2"]
text = data.run(*MPIRUN, "2", "moray-run", artifact, "--tokens", ids[0], *GPU, *nccl(), *moves, "-n", "5", "--ignore-eos")
if text != expected[0]:
    sys.exit("text differs where experts move")

command = ["moray-run", artifact, "--tokens", ids[0], "-n", "5", "--ignore-eos", *GPU, *nccl()]
for out, err, code in torchrun(2, *command):
    if code != 0 or out not in (expected[0], b""):
        sys.exit("started like torchrun: exit status %d, %r\n%s" % (code, out, err.decode(errors="replace")))

del os.environ["MORAY_GPUSIM_EXIT_CODE"]
for fault, victim, sentences in [("kill@1:9", 1, ["error[E5106]: rank 1 was lost", "layer"]),
                                 ("error@2:30", 2, ["error[E5109]: rank 2 failed: error[E5115]: NCCL"])]:
    os.environ["MORAY_NCCLSIM_FAULT"] = fault
    for rank, (out, err, code) in enumerate(torchrun(3, *command)):
        err = err.decode(errors="replace")
        if rank != victim and (code != 9 or any(s not in err for s in sentences)):
            sys.exit("%s: rank %d ended with %d:\n%s" % (fault, rank, code, err))
    print(fault, "is named by the others")
