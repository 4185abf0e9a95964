"""How long the command takes to start: `assay --help`, and `assay verify` of a small certificate with its model.

Baseline: bare Python (`python -c pass`), started in turn with ours. typer, which the command does without, is started
for comparison. Prints medians in milliseconds and, last, one JSON object.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import make_result, print_report  # noqa: E402

from assay.protocol.signatures import get_public_key  # noqa: E402
from tests.certificate.cases import AUDITOR, make_certificate, make_model_file  # noqa: E402

ROUNDS = int(os.environ.get("ASSAY_BENCH_ROUNDS", "21"))
BAR = 12

TYPER = """
import typer
app = typer.Typer(rich_markup_mode=None, add_completion=False)
@app.command()
def run(): ...
app(['--help'])
"""


def measure(command: list[str]) -> float:
    """Return the milliseconds that one process takes, from start to end.

    Raises:
        subprocess.CalledProcessError: it did not exit with 0.
    """
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000


def main() -> int:
    """Run the benchmark and return 0 if all bars are met."""
    with tempfile.TemporaryDirectory(prefix="assay-startup-") as folder:
        certificate, model = Path(folder, "model.assay.json"), Path(folder, "model.safetensors")
        certificate.write_bytes(make_certificate())
        model.write_bytes(make_model_file())
        os.environ["ASSAY_HOME"] = folder
        # As after an installation: modules are compiled once, whatever the environment says about bytecode.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
        command = [sys.executable, "-m", "assay"]
        trust = ["--trust", get_public_key(AUDITOR).hex()]
        commands = {
            "bare Python": [sys.executable, "-c", "pass"],
            "assay --help": [*command, "--help"],
            "assay verify CERTIFICATE MODEL": [*command, "verify", str(certificate), str(model), *trust],
            "help of an empty typer command without rich": [sys.executable, "-c", TYPER],
        }
        for words in commands.values():  # once unmeasured: compiled files and the disk's cache
            measure(words)
        times: dict[str, list[float]] = {what: [] for what in commands}
        for _ in range(ROUNDS):
            for what, words in commands.items():
                times[what].append(measure(words))
    medians = {what: statistics.median(values) for what, values in times.items()}
    baseline = medians.pop("bare Python")
    results = []
    for what, ours in medians.items():
        bar = BAR if what.startswith("assay") else None
        print(f"{what}: {ours:.1f} ms, bare Python {baseline:.1f} ms", flush=True)
        results.append(make_result(what, round(ours, 2), round(baseline, 2), ours / baseline, bar, unit="ms"))
    return print_report("startup", results, rounds=ROUNDS)


if __name__ == "__main__":
    sys.exit(main())
