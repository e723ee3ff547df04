"""Compile time and memory must not grow with the number of identical layers: check_scaling.py CONFIG SCRATCH_DIR SECONDS [FLAGS].

The full configuration without weights takes less than SECONDS and 2 GB, and at most 1.3 times the processor time of the same model with 6 layers (which
other processes disturb less than the time of the clock).
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
import golden_data as data

MAX_BYTES, MAX_RATIO, FEW_LAYERS = 2e9, 1.3, 6
SHORTEST_S = 2.0  # below this the ratio is noise


def compileOnce(config, folder, layers, flags):
    path = os.path.join(folder, "%d-layers.json" % layers)
    with open(path, "w") as file:
        json.dump(dict(config, num_hidden_layers=layers), file)
    artifact = path[:-5] + ".moray"
    before = os.times()
    result = json.loads(data.run("moray-compile", path, "-o", artifact, "--weights=none", "--json", *flags))
    after = os.times()
    result["cpu_seconds"] = sum(after[2:4]) - sum(before[2:4])
    print("%d layers: %.2f s, %.2f s of processor time, %.0f MB peak, artifact of %.2f MB" %
          (layers, result["seconds"], result["cpu_seconds"], result["peak_memory_bytes"] / 1e6, result["bytes"] / 1e6))
    return result


configuration, scratch, maxSeconds, *given = sys.argv[1:]
os.makedirs(scratch, exist_ok=True)
with open(configuration) as source:
    content = json.load(source)
few = compileOnce(content, scratch, FEW_LAYERS, given)
full = compileOnce(content, scratch, content["num_hidden_layers"], given)
if full["seconds"] >= float(maxSeconds) or full["peak_memory_bytes"] >= MAX_BYTES:
    sys.exit("the full model takes too much")
if full["cpu_seconds"] > max(SHORTEST_S, MAX_RATIO * few["cpu_seconds"]):
    sys.exit("compile time grows with the layers: %.2f times" % (full["cpu_seconds"] / few["cpu_seconds"]))
