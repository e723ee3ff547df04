#!/usr/bin/env bash
# Builds Moray on a plain Debian 12, compiles a small trained model to one artifact and lets it write Python.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/scripts/stages.sh"
prompt=${1:-$'def read_lines(path):\n    """Return the lines of a file."""\n'}
artifact=build/tiny-coder.moray

stage setup tools/scripts/setup.sh
stage configure configure_preset release
stage build build_preset release moray-compile moray-run
begin=$(date +%s%N)
stage compile build/release/bin/moray-compile test/models/tiny-coder -o $artifact
compile_ms=$((($(date +%s%N) - begin) / 1000000))

sampling=(-n 96 --temp 0.7 --top-p 0.95 --seed 12) # greedy text of so small a model repeats itself
echo "==== run: moray-run $artifact -p PROMPT ${sampling[*]}"
printf '%s' "$prompt"
build/release/bin/moray-run $artifact -p "$prompt" "${sampling[@]}" 2>build/demo.log || { cat build/demo.log >&2; exit 1; }
printf '\n\ncompiled in %d.%d s, artifact of %d KB, %s tokens/s\n' $((compile_ms / 1000)) $((compile_ms % 1000 / 100)) \
  $(($(stat -c %s $artifact) / 1000)) "$(sed -n 's/.*decode .* \([0-9.]*\) tokens\/s.*/\1/p' build/demo.log)"
