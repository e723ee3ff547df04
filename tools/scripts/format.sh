#!/bin/sh
# Formats all C++ and C sources with clang-format 22 (Debian: clang-format-22); --check only reports.
cd "$(dirname "$0")/../.." || exit 70
format=$(command -v clang-format-22 || echo /usr/lib/llvm-22/bin/clang-format)
[ -x "$format" ] || { echo "error[E1604]: clang-format-22 is not installed; fix: apt-get install clang-format-22" >&2; exit 6; }
[ "$1" = --check ] && mode="--dry-run --Werror" || mode=-i
# shellcheck disable=SC2086  # the mode is a list of flags
git ls-files -z --cached --others --exclude-standard '*.cpp' '*.h' '*.c' | xargs -0 "$format" $mode
