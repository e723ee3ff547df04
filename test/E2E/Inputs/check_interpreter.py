"""Compares compiled logits with the reference interpreter's: check_interpreter.py MODEL_DIR ARTIFACT IR SCRATCH TOLERANCE LEVELS.

Both round at the same points, so that the median row agrees to f32 noise; a value near a rounding boundary may fall the other way.
"""

import os
import statistics
import sys

import golden_data as data

folder, artifact, ir, scratch, tolerance, levels = sys.argv[1:]
prompt = data.readGolden(folder)["prompt_ids"][1]
path = scratch + ".interpreter.npy"
data.run("moray-interpret", ir, "--weights", folder, "--tokens", ",".join(map(str, prompt)), "--logits", path)
(_, columns), expected = data.readNpy(path)
for level in levels.split(","):
    found = data.logits(artifact, prompt, scratch, "--cpu-level", level)[1]
    rows = range(0, len(expected), columns)
    errors = [data.rowError(found[r:r + columns], expected[r:r + columns], columns) for r in rows]
    print("%s: median row error %.1e, largest %.1e" % (level, statistics.median(errors), max(errors)))
    if not statistics.median(errors) <= float(tolerance):
        sys.exit("%s: median row error %.1e, at most %s is allowed" % (level, statistics.median(errors), tolerance))
