"""An artifact for several targets holds the weights of one for the CPU alone, and nothing more: compare_targets.py CPU SEVERAL."""

import json
import subprocess
import sys


def inspect(path):
    return json.loads(subprocess.check_output(["moray-inspect", path, "--json"]))


cpu, several = (inspect(path) for path in sys.argv[1:])
print("weights: %d bytes for the CPU alone, %d for %s" % (cpu["file"]["weight_bytes"], several["file"]["weight_bytes"],
                                                          ", ".join(target["name"] for target in several["targets"])))
if cpu["weights"] != several["weights"] or cpu["file"]["weight_bytes"] != several["file"]["weight_bytes"]:
    sys.exit("the weights differ")
if cpu["targets"][0]["programs"] != several["targets"][0]["programs"]:
    sys.exit("the CPU's programs differ")
if any(target["weight_bytes"] != cpu["targets"][0]["weight_bytes"] for target in several["targets"]):
    sys.exit("not every target uses all of the weights")
