#!/usr/bin/env bash
# Build the wheel and install it with each extra into a fresh environment of its own, outside the tree; use it there.
# Slow: it fetches PyTorch several times. With TORCH=VERSION that version is installed in place of the pinned one.
# Usage: tools/check_extras.sh PYTHON [EXTRA...]
set -euo pipefail
python="$(realpath -s "$1")"
shift
extras=("$@")
[ "${#extras[@]}" -gt 0 ] || extras=(data node torch huggingface lightning)
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

ASSAY_NATIVE_BUILD=require "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$scratch" "$root"
wheel="$(ls "$scratch"/assay-*.whl)"
constraints="$scratch/constraints.txt"
cp "$root/constraints.txt" "$constraints"
if [ -n "${TORCH:-}" ]; then
  sed -i "s/^torch==.*/torch==$TORCH/" "$constraints"
fi

# Record a run, audit it with a second key, verify, report: what the extra `torch` is for.
cat >"$scratch/story.py" <<'STORY'
import subprocess, sys
import torch
from torch import nn
from torch.utils.data import TensorDataset
import assay

run = assay.start("run", seed=0, checkpoint_every=4)
with run.init():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 2))
optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
data = TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
loader = run.loader(data, batch_size=8)

@run.step(models=[net], optimizers=[optimizer])
def train_step(batch):
    loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss

for _ in run.epochs(2):
    for batch in loader:
        train_step(batch)
run.evaluate(net, data, metrics=["accuracy"])
run.finish()
for words in ("run audit run", "run report run --out run.html", "run export run --out run.safetensors"):
    subprocess.run([sys.executable, "-m", "assay", *words.split()], check=True, stdout=subprocess.DEVNULL)
print("torch", torch.__version__, "records, audits and reports")
STORY

for extra in "${extras[@]}"; do
  place="$scratch/$extra"
  mkdir "$place"
  "$python" -m venv "$place/venv"
  bin="$place/venv/bin"
  "$bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints" "$wheel[$extra]"
  cd "$place"
  export ASSAY_HOME="$place/home"
  "$bin/assay" demo verify >/dev/null
  case "$extra" in
    torch) "$bin/python" "$scratch/story.py" ;;
    data) "$bin/python" -c 'import sklearn' ;;
    node) "$bin/assay" node --help >/dev/null && "$bin/python" -c 'import fastapi, httpx, uvicorn' ;;
    huggingface) "$bin/python" -c 'import assay; assay.HuggingFaceCallback' ;;
    lightning) "$bin/python" -c 'import assay; assay.LightningCallback' ;;
    *) echo "unknown extra: $extra" && exit 2 ;;
  esac
  echo "extra $extra: installs from the wheel alone and works"
  cd "$scratch"
  rm -rf "$place"
done
