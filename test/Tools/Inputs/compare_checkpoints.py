"""compare_checkpoints.py A B: fails unless two checkpoint directories hold equal tensors, however they are split into files."""

import glob
import json
import struct
import sys


def tensors(directory):
    found = {}
    for path in glob.glob(directory + "/*.safetensors"):
        with open(path, "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(length))
            data = file.read()
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = (entry["dtype"], entry["shape"], data[begin:end])
    return found


a, b = tensors(sys.argv[1]), tensors(sys.argv[2])
assert a and a.keys() == b.keys(), sorted(a.keys() ^ b.keys())
for name in a:
    assert a[name] == b[name], name
