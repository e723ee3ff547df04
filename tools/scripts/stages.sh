# Shared by test.sh and demo.sh (sourced): runs named stages, prints the time of each, configures and builds.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
jobs=$(nproc)
stage_report=()

# stage NAME COMMAND...: runs it and prints how long it took; returns its exit status.
stage() {
  local name=$1 begin=$SECONDS status=0
  shift
  echo "==== $name"
  "$@" || status=$?
  stage_report+=("$(printf '%-22s %4d s%s' "$name" $((SECONDS - begin)) "$([ $status = 0 ] || echo "  failed ($status)")")")
  echo "---- $name: $((SECONDS - begin)) s"
  return $status
}

print_stages() {
  printf '%s\n' "==== time of each stage" "${stage_report[@]}" "$(printf '%-22s %4d s' total "$SECONDS")"
}

# configure_preset NAME [-D...]: quiet unless it fails.
configure_preset() {
  local log="build/$1-configure.log"
  mkdir -p build
  cmake --preset "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

# build_preset NAME [target...]: one job per core; links run one at a time (a pool in CMake).
build_preset() {
  local preset=$1
  shift
  cmake --build "build/$preset" -j "$jobs" ${1:+--target "$@"}
}
