"""Compares a ref32 artifact with the golden data of its model: check_ref32.py MODEL_DIR ARTIFACT SCRATCH LEVELS.

Logits at all positions within 2e-5, 32 greedy tokens equal, and the same bits for every chunk size and thread count, on each of the
comma-separated CPU levels.
"""

import os
import sys

import golden_data as data

TOLERANCE = 2e-5  # max|difference| / max|reference| per row
TOKENS = 32


def check(folder, artifact, scratch, level):
    golden = data.readGolden(folder)
    shape, expected = data.readTensor(os.path.join(folder, "golden.safetensors"), "logits")
    begin, worst, flags = 0, 0.0, ["--cpu-level", level]
    for prompt, greedy in zip(golden["prompt_ids"], golden["greedy_ids"]):
        columns, found = data.logits(artifact, prompt, scratch, *flags)
        if columns != shape[1]:
            sys.exit("%d logits per row, expected %d" % (columns, shape[1]))
        rows = expected[begin * columns:(begin + len(prompt)) * columns]
        error = data.rowError(found, rows, columns)
        print("%s, prompt of %d: logits error %.2e" % (level, len(prompt), error))
        worst = max(worst, error)
        begin += len(prompt)
        for variant in (["--chunk", "1", "-t", "1"], ["--chunk", "7", "-t", "2"], ["--chunk", "64", "-t", "1"]):
            if data.logits(artifact, prompt, scratch, *flags, *variant)[1] != found:
                sys.exit("%s: logits change with %s" % (level, " ".join(variant)))
        tokens = data.generate(artifact, prompt, TOKENS, *flags)
        if tokens != greedy[:TOKENS]:
            sys.exit("%s: greedy tokens %s\nexpected %s" % (level, tokens, greedy[:TOKENS]))
        if data.generate(artifact, prompt, TOKENS, *flags, "--chunk", "7", "-t", "1") != tokens:
            sys.exit("%s: greedy tokens change with the chunk size" % level)
    if not worst <= TOLERANCE:
        sys.exit("%s: logits error %.2e, at most %.0e is allowed" % (level, worst, TOLERANCE))


for name in sys.argv[4].split(","):
    check(sys.argv[1], sys.argv[2], sys.argv[3], name)
