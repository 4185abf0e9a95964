#!/usr/bin/env bash
# Build the native library in a copy of the sources, warnings as errors, and run its tests there: with the address and
# undefined-behaviour sanitizers, once for each choice of instruction sets that this machine has; then as other machines do.
# Usage: tools/check_native.sh PYTHON
set -euo pipefail
python="$(realpath -s "$1")"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

cp -r "$root/src" "$root/tests" "$root/tools" "$root/pyproject.toml" "$scratch"
cd "$scratch"
"$python" -m tools.native_build --strict --sanitize
# The sanitizers must be loaded before Python; Python's own allocations are none of their business.
libraries="$(for name in libasan.so libubsan.so; do "${CC:-cc}" -print-file-name="$name"; done | tr '\n' ' ')"
LD_PRELOAD="$libraries" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
  PYTHONPATH="$scratch/src:$scratch" "$python" -m pytest -q -p no:cacheprovider tests/kernels

# What a machine compiles that has no files of its own.
"$python" -m tools.native_build --strict --portable
PYTHONPATH="$scratch/src:$scratch" "$python" -m pytest -q -p no:cacheprovider tests/kernels
