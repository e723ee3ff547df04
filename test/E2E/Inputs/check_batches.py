"""Runs moray-check-batches on the golden prompts of a model, short ones repeated with a changed end: check_batches.py MODEL_DIR ARTIFACT."""

import sys

import golden_data as data

prompts = data.readGolden(sys.argv[1])["prompt_ids"]
prompts = prompts + [p[: 1 + len(p) // 2] for p in prompts] + [prompts[-1][:65]]
sys.stdout.buffer.write(data.run("moray-check-batches", sys.argv[2], *[",".join(map(str, p)) for p in prompts]))
