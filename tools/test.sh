#!/usr/bin/env bash
# Builds everything and runs every test on a plain Debian 12; the last line is `N passed, N failed, N skipped`.
set -uo pipefail

effort=normal
asan=yes
for argument in "$@"; do
  case $argument in
    --quick) effort=quick asan=no ;;
    --full) effort=full ;;
    --no-asan) asan=no ;;
    -h | --help)
      echo "usage: tools/test.sh [--quick | --full] [--no-asan]"
      echo "  --quick    leaves out what is slow, and the sanitizer build"
      echo "  --full     adds what is too long for every push"
      echo "  --no-asan  leaves out the sanitizer build"
      exit 0
      ;;
    *)
      echo "error[E1001]: unknown argument '$argument'; see tools/test.sh --help" >&2
      exit 2
      ;;
  esac
done

# shellcheck source=tools/scripts/stages.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/stages.sh"
results=build/test-results
rm -rf "$results"
mkdir -p "$results"

# A stage that must succeed before tests can run.
required() {
  stage "$@" && return
  print_stages
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}

run_lit() {
  python3 "$(sed -n 's/^MORAY_LIT:FILEPATH=//p' build/release/CMakeCache.txt)" -sv --no-progress-bar -j "$jobs" --param effort=$effort \
    --xunit-xml-output "$results/lit.xml" build/release/test
}

# run_ctest PRESET [arguments]
run_ctest() {
  local preset=$1 leave_out=long
  shift
  [ $effort = quick ] && leave_out='slow|long'
  [ $effort = full ] && leave_out='^$'
  rm -rf "build/$preset/test/results"
  ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure -LE "$leave_out" --output-junit "$root/$results/ctest-$preset.xml" "$@"
}

stage setup tools/scripts/setup.sh || exit 6
required configure configure_preset release
required build build_preset release
stage "lit and tidy" run_lit
stage ctest run_ctest release
if [ $asan = yes ]; then
  # LLVM's libraries come without instrumentation, so the sanitizers watch what reads hostile input: checkpoints and artifacts.
  required "asan configure" configure_preset asan
  required "asan build" build_preset asan moray-plain-test-programs
  # The release build's compiler makes the artifact that is damaged under sanitizers.
  export MORAY_TEST_ARTIFACT="$root/$results/victim.moray"
  build/release/bin/moray-compile test/golden/v3-tiny-fp8 --weights=none -q -o "$MORAY_TEST_ARTIFACT" || unset MORAY_TEST_ARTIFACT
  stage "asan ctest" run_ctest asan -L plain
fi
print_stages
python3 tools/scripts/count_results.py "$results" build/release/test/results build/asan/test/results
