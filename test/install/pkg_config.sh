#!/bin/sh
# Compiles consumer.c as strict C99 with the flags of an installed moray.pc and runs it: pkg_config.sh PREFIX CC OUTPUT.
set -e
PKG_CONFIG_PATH=$(dirname "$(find "$1" -name moray.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # the flags are a list
"$2" -std=c99 -Wall -Wextra -pedantic -Werror "$(dirname "$0")/consumer.c" -o "$3" $(pkg-config --cflags --libs moray) \
  -Wl,-rpath,"$(pkg-config --variable=libdir moray)"
"$3"
