"""Compares an artifact with reduced numerics with the golden data: check_default.py MODEL_DIR ARTIFACT SCRATCH LEVELS SIMDIFF.

The stored numbers are those of ref32, so only statistics are compared: the median over tokens of the per-token simdiff, since one
flipped expert moves a token far, and greedy tokens only while every margin so far is large. Bits must still not depend on chunking.
"""

import os
import statistics
import sys

import golden_data as data


def check(folder, artifact, scratch, level, limit):
    golden = data.readGolden(folder)
    _, expected = data.readTensor(os.path.join(folder, "golden.safetensors"), "logits")
    begin, differences, flags = 0, [], ["--cpu-level", level]
    for prompt in golden["prompt_ids"]:
        columns, found = data.logits(artifact, prompt, scratch, *flags)
        for row in range(len(prompt)):
            reference = expected[(begin + row) * columns:(begin + row + 1) * columns]
            differences.append(data.simdiff(found[row * columns:(row + 1) * columns], reference))
        begin += len(prompt)
        for variant in (["--chunk", "1", "-t", "1"], ["--chunk", "7", "-t", "2"]):
            if data.logits(artifact, prompt, scratch, *flags, *variant)[1] != found:
                sys.exit("%s: logits change with %s" % (level, " ".join(variant)))
    median = statistics.median(differences)
    print("%s: median simdiff of logits %.2e, largest %.2e" % (level, median, max(differences)))
    if not median <= limit:
        sys.exit("%s: median simdiff %.2e, at most %.0e is allowed" % (level, median, limit))


for name in sys.argv[4].split(","):
    check(sys.argv[1], sys.argv[2], sys.argv[3], name, float(sys.argv[5]))
