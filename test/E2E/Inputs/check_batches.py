"""Runs moray-check-batches on the golden prompts of a model, short ones repeated with a changed end: check_batches.py MODEL_DIR ARTIFACT
[CUDA_LIBRARY]. On the GPU of a library a few prompts must do, as it may be the simulator's.
"""

import sys

import golden_data as data

prompts = data.readGolden(sys.argv[1])["prompt_ids"]
if len(sys.argv) > 3:
    device, prompts = ["--cuda-library", sys.argv[3]], [prompts[0], prompts[1][:9], prompts[2][:40], prompts[1], prompts[2][:33]]
else:
    device, prompts = [], prompts + [p[: 1 + len(p) // 2] for p in prompts] + [prompts[-1][:65]]
sys.stdout.buffer.write(data.run("moray-check-batches", *device, sys.argv[2], *[",".join(map(str, p)) for p in prompts]))
