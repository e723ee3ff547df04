"""Counts the kernels of a decode step: check_launches.py SMALLER LARGER LIBRARY SM LIMIT.

The artifacts differ by one MoE layer, so the difference of their decode graphs is what such a layer costs.
"""

import os
import re
import subprocess
import sys

smaller, larger, library, sm, limit = sys.argv[1:6]
os.environ.update(MORAY_GPUSIM_SM=sm, MORAY_GPUSIM_STATS="1", MORAY_GPUSIM_EXIT_CODE="99")


def graph_kernels(artifact):
    result = subprocess.run(["moray-run", artifact, "--device=cuda", "--cuda-library", library, "--tokens", "5,6", "-n", "3"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    log = result.stderr.decode(errors="replace")
    found = re.search(r"graph-launches=([1-9]\d*) last-graph-kernels=(\d+) last-graph-nodes=(\d+)", log)
    if result.returncode or not found or found.group(2) != found.group(3):
        sys.exit("%s: exit status %d\n%s" % (artifact, result.returncode, log))
    return int(found.group(2))


layer = graph_kernels(larger) - graph_kernels(smaller)
print("sm_%s: %d launches per MoE layer" % (sm, layer))
if not 0 < layer <= int(limit):
    sys.exit("at most %s are allowed" % limit)
