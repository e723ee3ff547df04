"""Tokenizes the text of the BOS token with and without --plain: special_token.py TOOL MODEL."""

import json
import subprocess
import sys

tool, model = sys.argv[1:]


def tokenize(*flags):
    return json.loads(subprocess.run([tool, model, "--json", *flags], check=True, capture_output=True).stdout)


bos = tokenize("--bos", "yes", "-p", "")["pieces"][0]
parsed = len(tokenize("--bos", "no", "-p", bos)["ids"])
plain = len(tokenize("--bos", "no", "--plain", "-p", bos)["ids"])
print("parsed %d, plain %s" % (parsed, "more" if plain > 1 else plain))
