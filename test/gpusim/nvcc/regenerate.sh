#!/bin/sh
# Remakes kernels/*.ptx from kernels/*.cu with nvcc (NVCC=PATH or the one on PATH) and lets ptxas, where there is one, check them.
# No contraction: a*b+c must round twice as on the host. Names that end in _sm89 are compiled for that device, others for sm_80.
set -eu
cd "$(dirname "$0")/kernels"
nvcc=${NVCC:-nvcc}
for source in *.cu; do
  name=${source%.cu}
  case $name in *_sm89) arch=sm_89 ;; *) arch=sm_80 ;; esac
  "$nvcc" -ptx -arch=$arch -fmad=false -O2 "$source" -o "$name.tmp"
  # Comments and blank lines are half of the text.
  sed -e "s|[ \t]*//.*||" -e '/^[ \t]*$/d' "$name.tmp" >"$name.ptx"
  rm "$name.tmp"
  ptxas=$(dirname "$(command -v "$nvcc")")/ptxas
  [ ! -x "$ptxas" ] || "$ptxas" -arch=$arch -o /dev/null "$name.ptx"
done
