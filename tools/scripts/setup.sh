#!/usr/bin/env bash
# Installs the Debian packages that Moray needs, or says exactly what to type; exits 6 when they cannot be installed.
set -euo pipefail

packages=(
  clang-22 lld-22 libclang-rt-22-dev                               # the C++ compiler, its linker and its sanitizers
  llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools liblld-22-dev # what the Moray compiler is built from; lit, FileCheck
  flatbuffers-compiler libflatbuffers-dev                          # the artifact's metadata
  libcli11-dev nlohmann-json3-dev libxxhash-dev                    # flags, JSON, hashes
  libgtest-dev libicu-dev                                          # unit tests; Unicode tables at build time
  zlib1g-dev libzstd-dev                                           # what the static lld needs
  libopenmpi-dev openmpi-bin                                       # ranks of CPUs; without them engines run on one rank
  cmake ninja-build ccache pkg-config python3 g++
)

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#packages[@]} installed"
  exit 0
fi

if [ "$(id -u)" = 0 ]; then
  as_root=()
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
  as_root=(sudo)
else
  cat >&2 <<END
error[E1601]: ${#missing[@]} packages are missing and this user may not install them
  fix: run as root, then start this script again:
  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}
END
  exit 6
fi

echo "packages: installing ${missing[*]}"
"${as_root[@]}" apt-get update -q
for package in "${missing[@]}"; do
  candidate=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
  if [ -z "$candidate" ] || [ "$candidate" = "(none)" ]; then
    cat >&2 <<END
error[E1602]: no configured package source has $package
  why: LLVM 22 for Debian 12 comes with bookworm-security, everything else with bookworm; one of the two is not configured
  fix: add the suites bookworm and bookworm-security (component main) to /etc/apt/sources.list, run apt-get update, then start this script again
END
    exit 6
  fi
done
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; then
  echo "error[E1603]: apt-get could not install the packages; its own message stands above" >&2
  exit 6
fi
