"""Compares text generation and perplexity with the golden data of tiny-coder: check_text.py MODEL_DIR ARTIFACT TOLERANCE [MIN_MARGIN].

TOLERANCE is relative, for the perplexity of eval.txt. Greedy texts must be equal where the golden's smallest top-2 margin of the prompt
exceeds MIN_MARGIN (default 0). Token ids of prompts and of eval.txt must be equal in any case: the tokenizer is exact.
"""

import json
import math
import os
import statistics
import sys

import golden_data as data


def checkPerplexity(golden, folder, artifact, tolerance):
    ids = data.readTensor(os.path.join(folder, "golden/golden.safetensors"), "eval.ids")[1]
    expected = data.readTensor(os.path.join(folder, "golden/golden.safetensors"), "eval.logprob")[1]
    eval_text = os.path.join(folder, "golden", "eval.txt")
    result = json.loads(data.run("moray-run", artifact, "--score", eval_text, "--window", 512, "--json"))
    if result["ids"] != list(ids):
        sys.exit("eval.txt has other token ids than the golden")
    relative = abs(result["perplexity"] / golden["eval"]["perplexity"] - 1)
    median = statistics.median(abs(a - b) for a, b in zip(result["log_probs"], expected))
    print("perplexity %.6f, golden %.6f, relative difference %.2e, median difference of a token %.2e"
          % (result["perplexity"], golden["eval"]["perplexity"], relative, median))
    if result["tokens"] != golden["eval"]["tokens"] or not relative <= tolerance or math.isnan(median):
        sys.exit("perplexity outside %g, or %d tokens instead of %d" % (tolerance, result["tokens"], golden["eval"]["tokens"]))


def checkPrompt(prompt, artifact, min_margin):
    answer = json.loads(data.run("moray-run", artifact, "-p", prompt["prompt"], "-n", len(prompt["greedy_ids"]), "--json"))
    if answer["prompt_ids"] != prompt["prompt_ids"]:
        sys.exit("%s: prompt ids %s, expected %s" % (prompt["name"], answer["prompt_ids"], prompt["prompt_ids"]))
    equal = answer["generated_ids"] == prompt["greedy_ids"]
    print("%s: %s (smallest margin %.3f)" % (prompt["name"], "equal" if equal else "differs", prompt["min_margin"]))
    if not equal:
        if prompt["min_margin"] > min_margin:
            sys.exit("%s: generated %r\nexpected %r" % (prompt["name"], answer["text"], prompt["text"]))
        return
    if answer["text"] != prompt["text"]:
        sys.exit("%s: equal tokens, other text: %r\nexpected %r" % (prompt["name"], answer["text"], prompt["text"]))
    # What is streamed is the text and nothing else.
    streamed = data.run("moray-run", artifact, "-p", prompt["prompt"], "-n", len(prompt["greedy_ids"]))
    if streamed.decode() != prompt["text"]:
        sys.exit("%s: streamed %r" % (prompt["name"], streamed))


with open(os.path.join(sys.argv[1], "golden/golden.json")) as file:
    content = json.load(file)
for item in content["prompts"]:
    checkPrompt(item, sys.argv[2], float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)
checkPerplexity(content, sys.argv[1], sys.argv[2], float(sys.argv[3]))
