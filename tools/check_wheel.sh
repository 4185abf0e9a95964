#!/usr/bin/env bash
# Build the wheel, install it alone (no torch) into a fresh environment outside the tree, and use it there.
# Usage: tools/check_wheel.sh PYTHON
set -euo pipefail
python="$(realpath -s "$1")"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

rm -rf "$root/dist"
ASSAY_NATIVE_BUILD=require "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$root/dist" "$root"
wheel="$(ls "$root"/dist/assay-*.whl)"
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$wheel"

cd "$scratch"
if "$scratch/venv/bin/python" -c 'import torch' 2>/dev/null; then
  echo "expected the base install to come without torch" && exit 1
fi
"$scratch/venv/bin/python" -c 'from assay.kernels.loader import load; assert load() is not None, "no native library"'
"$scratch/venv/bin/assay" --help >/dev/null
"$scratch/venv/bin/assay" demo verify
status=0
"$scratch/venv/bin/assay" demo verify --tamper || status=$?
if [ "$status" -ne 1 ]; then
  echo "expected 'assay demo verify --tamper' to exit 1 (refuted), it exited $status" && exit 1
fi
echo "wheel: $(basename "$wheel"), $(stat -c %s "$wheel") bytes, works without torch"

# Without a compiler the package installs all the same, computes the same, and its wheel is for any machine.
ASSAY_NATIVE_BUILD=skip "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$scratch" "$root"
plain="$(ls "$scratch"/assay-*-py3-none-any.whl)"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$plain"
"$scratch/venv/bin/python" -c 'from assay.kernels.loader import load; assert load() is None, "a library in a pure wheel"'
"$scratch/venv/bin/assay" demo verify >/dev/null
echo "wheel: $(basename "$plain"), works without the native library"
