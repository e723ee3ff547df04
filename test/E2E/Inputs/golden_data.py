"""Reads golden data and runs the tools; standard library only, as a fresh machine has nothing else."""

import array
import json
import os
import struct
import subprocess
import sys


def readTensor(path, name):
    """A float32 or integer tensor of a safetensors file as (shape, array)."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        entry = json.loads(file.read(size))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + size + begin)
        values = array.array({"F32": "f", "I32": "i", "I64": "q"}[entry["dtype"]])
        values.frombytes(file.read(end - begin))
        return entry["shape"], values


def readNpy(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"\x93NUMPY\x01\x00":
        sys.exit("%s: not a .npy file" % path)
    size = struct.unpack("<H", data[8:10])[0]
    header = eval(data[10:10 + size].decode(), {"__builtins__": {}}, {"False": False, "True": True})
    if header["descr"] != "<f4" or header["fortran_order"] or (10 + size) % 64:
        sys.exit("%s: unexpected header %s" % (path, header))
    values = array.array("f")
    values.frombytes(data[10 + size:])
    return list(header["shape"]), values


def rowError(found, expected, columns):
    """Largest max|difference| / max|reference| over the rows."""
    worst = 0.0
    for row in range(0, len(expected), columns):
        reference = expected[row:row + columns]
        scale = max(max(reference), -min(reference)) or 1.0
        difference = max(abs(a - b) for a, b in zip(found[row:row + columns], reference))
        if difference != difference:
            return float("inf")
        worst = max(worst, difference / scale)
    return worst


def simdiff(found, expected):
    dot = sum(a * b for a, b in zip(found, expected))
    norms = sum(a * a for a in found) + sum(b * b for b in expected)
    return 1 - 2 * dot / norms


def run(*command, expect=0):
    """Runs a tool and returns its stdout; anything but the expected exit status ends the test."""
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if result.returncode != expect:
        sys.exit("%s\nexit status %d, expected %d\n%s" % (" ".join(map(str, command)), result.returncode, expect,
                                                        result.stderr.decode(errors="replace")))
    return result.stdout


def generate(artifact, ids, count, *flags):
    """Greedy continuation of `ids`, end tokens ignored."""
    out = run("moray-run", artifact, "--tokens", ",".join(map(str, ids)), "-n", count, "--ignore-eos", "--json", *flags)
    answer = json.loads(out)
    if answer["prompt_ids"] != ids:
        sys.exit("prompt ids came back as %s" % answer["prompt_ids"])
    return answer["generated_ids"]


def logits(artifact, ids, scratch, *flags):
    """Logits of all positions: (columns, values)."""
    path = scratch + ".npy"
    run("moray-run", artifact, "--tokens", ",".join(map(str, ids)), "--logits", path, *flags)
    shape, values = readNpy(path)
    os.remove(path)
    if shape[0] != len(ids):
        sys.exit("logits have shape %s for %d tokens" % (shape, len(ids)))
    return shape[1], values


def readGolden(folder):
    with open(os.path.join(folder, "golden.json")) as file:
        return json.load(file)
