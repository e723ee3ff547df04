#!/usr/bin/env bash
# Gathers what a machine with a GPU and nothing else needs to check and measure: test/gpu/pack.sh OUT_DIR [BUILD_DIR].
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: test/gpu/pack.sh OUT_DIR [BUILD_DIR]" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$1
build=${2:-$root/build/release}
models="v2-lite-tiny moonlight-tiny v3-tiny-fp8 v3-tiny-ue8m0"
targets=cpu,cuda:sm_80,cuda:sm_89

mkdir -p "$out/bin" "$out/lib" "$out/models" "$out/geometries"
cp "$build"/bin/moray-{run,bench,inspect} "$build"/test/bin/GpuSimNvccTest "$out/bin/"
cp -P "$build"/lib/libmoray_runtime.so* "$out/lib/"
cp "$root"/test/gpu/run.sh "$root"/test/E2E/Inputs/{check_gpu,golden_data}.py "$out/"
mkdir -p "$out/nvcc" && cp "$root"/test/gpusim/nvcc/kernels/*.ptx "$out/nvcc/"

for model in $models; do
  mkdir -p "$out/models/$model"
  cp "$root/test/golden/$model/golden.json" "$out/models/$model/"
  "$build/bin/moray-compile" "$root/test/golden/$model" -o "$out/models/$model/gpu.moray" --target=$targets -q
  "$build/bin/moray-compile" "$root/test/golden/$model" -o "$out/models/$model/cpu-fp8.moray" --numerics=fp8 -q
done
"$build/bin/moray-compile" "$root/test/models/tiny-coder" -o "$out/models/tiny-coder.moray" --target=$targets -q
# Large geometries travel without weights and are filled at random where they run.
for preset in s deepseek-v2-lite; do
  "$build/bin/moray-make-model" $preset -o "$out/geometries/$preset" --config-only -q
  "$build/bin/moray-compile" "$out/geometries/$preset/config.json" -o "$out/geometries/$preset.moray" --weights=none --target=$targets -q
done
du -sh "$out"
