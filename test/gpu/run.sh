#!/usr/bin/env bash
# Checks and measures the kernels on this machine's GPU from a kit of pack.sh:
# run.sh [--library PATH] [--nccl-library PATH] [--sm 80|89|90].
set -uo pipefail

kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
library=libcuda.so.1
nccl=libnccl.so.2
sm=89
while [ $# -gt 0 ]; do
  case $1 in
    --library) library=$2; shift 2 ;;
    --nccl-library) nccl=$2; shift 2 ;;
    --sm) sm=$2; shift 2 ;; # what the simulator claims to be; a real device says so itself
    *) echo "usage: run.sh [--library PATH] [--nccl-library PATH] [--sm 80|89|90]" >&2; exit 2 ;;
  esac
done
real=$([ "$library" = libcuda.so.1 ] && echo yes || echo no)
export LD_LIBRARY_PATH="$kit/lib:${LD_LIBRARY_PATH:-}" PATH="$kit/bin:$PATH" MORAY_GPUSIM_SM=$sm
gpu=(--device=cuda --cuda-library "$library")
failed=0

# check TITLE command...
check() {
  echo "## $1"
  shift
  "$@" || { failed=$((failed + 1)); echo "FAILED: $*"; }
}

# A group of one rank sends its rows through NCCL and its own exchange kernels; nothing may change.
same_through_nccl() {
  local generate=(moray-run "$1" "${gpu[@]}" --tokens 5,6,7,8 -n 16 --ignore-eos)
  diff <("${generate[@]}") <("${generate[@]}" --force-dist --comm=nccl --nccl-library "$nccl")
}

command -v nvidia-smi > /dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
check "nvcc-made kernels against host oracles" env MORAY_CUDA_LIBRARY="$library" MORAY_NVCC_KERNELS="$kit/nvcc" GpuSimNvccTest --gtest_brief=1
for folder in "$kit"/models/*/; do
  cpu=$folder/gpu.moray
  [ "$sm" -ge 89 ] && case $folder in *fp8*|*ue8m0*) cpu=$folder/cpu-fp8.moray ;; esac
  check "$(basename "$folder") against the CPU" python3 "$kit/check_gpu.py" "$folder" "$cpu" "$folder/gpu.moray" "$library" "$sm" "$folder/scratch" 16
  python3 -c "import ctypes, sys; ctypes.CDLL(sys.argv[1])" "$nccl" 2> /dev/null \
    && check "$(basename "$folder") through NCCL" same_through_nccl "$folder/gpu.moray"
done
check "tiny-coder writes" moray-run "$kit/models/tiny-coder.moray" "${gpu[@]}" -p "def fibonacci(n):" -n $([ $real = yes ] && echo 64 || echo 2)
if [ $real = yes ]; then
  for geometry in s deepseek-v2-lite; do
    check "$geometry: tokens" moray-bench "$kit/geometries/$geometry.moray" "${gpu[@]}" --random-weights 1 -p 512,4096 -n 128 -b 1,16,64 -r 20
    check "$geometry: kernels" moray-bench "$kit/geometries/$geometry.moray" "${gpu[@]}" --random-weights 1 --kernels -r 20
  done
fi
echo "$failed checks failed"
exit $((failed != 0))
