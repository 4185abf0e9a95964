"""Each example runs to its end in its tiny mode: recorded, audited, certified, reported."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name, *folders):
    """Run an example in its tiny mode; return what it printed."""
    words = [sys.executable, name, *map(str, folders), "--tiny"]
    path = os.pathsep.join([str(EXAMPLES.parent / "src"), *sys.path])
    done = subprocess.run(
        words, cwd=EXAMPLES, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_ending(folder, shown, intervals):
    """The audit matched, the certificate holds for the model beside it, and the report says so."""
    assert f"audit: {intervals} of {intervals} intervals match" in shown
    assert "holds for" in shown
    page = folder.with_suffix(".html").read_text(encoding="utf-8")
    assert f"{intervals} of {intervals} intervals were recomputed by" in page
    assert folder.with_suffix(".assay.json").exists()
    assert folder.with_suffix(".safetensors").exists()


@pytest.mark.parametrize(("name", "intervals"), [
    ("augment_digits.py", 8), ("tabular_early_stop.py", 2), ("gan_digits.py", 8),
    ("trainer_lightning.py", 2), ("trainer_huggingface.py", 16),
])  # fmt: skip
def test_an_example_ends_with_certificate_and_report(name, intervals, tmp_path):
    """Augmentation, a table, a GAN, the trainers of Lightning and Hugging Face."""
    check_ending(tmp_path / "run", run(name, tmp_path / "run"), intervals)


def test_adapters_begin_at_a_certified_model(tmp_path):
    """Pretraining, then adapters on its model: a certified start whose parent is checked; a changed one is refused."""
    shown = run("pretrain_text.py", tmp_path / "text")
    check_ending(tmp_path / "text", shown, 12)
    shown = run("finetune_lora.py", tmp_path / "text", tmp_path / "lora")
    assert shown.startswith("parent: recomputed, 12 of 12 intervals")
    assert "start not recomputed" in shown
    check_ending(tmp_path / "lora", shown, 10)
    assert "parent: text.assay.json holds: recomputed" in shown
    page = (tmp_path / "lora.html").read_text(encoding="utf-8")
    assert "The starting weights were merely declared." not in page
    assert "first model of the start is that of the parent text.assay.json" in page
    assert "the 12 tensors of further models (1/0.down.weight, …) started: merely declared." in page
    model = tmp_path / "text.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(bytes(data))
    with pytest.raises(AssertionError, match="exited with 1"):
        run("finetune_lora.py", tmp_path / "text", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch):
    """Every cell runs, and no output is kept in the file."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent / "src"), *sys.path]))
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert "12 of 12 intervals match" in str(notebook.cells[-3].outputs)


def test_every_example_is_tested():
    """A new script in the folder needs a test here."""
    named = Path(__file__).read_text(encoding="utf-8")
    scripts = [path.name for path in EXAMPLES.glob("*.py") if path.name != "ending.py"]
    assert [name for name in scripts if name not in named] == []
    assert [name for name in scripts if name not in (EXAMPLES / "README.md").read_text(encoding="utf-8")] == []
