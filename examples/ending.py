"""How each story ends: an audit with a key of its own, a certificate that is verified, a report."""

import json
import subprocess
import sys
from pathlib import Path


def call(*words: object) -> dict:
    """Run `assay WORDS --json` as anybody would, and return what it printed."""
    command = [sys.executable, "-m", "assay", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"assay {' '.join(map(str, words))} exited with {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def certify_and_report(run: Path, parents: tuple[Path, ...] = ()) -> None:
    """Audit a finished run with the key `auditor`, verify the certificate and the model, and write a report.

    Recorder and auditor are one person here, with two keys. That is enough to see how it works; for evidence, somebody
    else runs the first of these commands. `parents` are the certificates of the models that the run started from.
    """
    certificate, model = run.with_suffix(".assay.json"), run.with_suffix(".safetensors")
    audit = call("run", "audit", run, "--out", certificate)["report"]
    print(f"audit: {audit['matching']} of {audit['intervals']} intervals match, start {audit['start']}")
    call("run", "export", run, "--out", model)
    trust = ["--trust", audit["auditor"], *(word for parent in parents for word in ("--parent", parent))]
    found = call("verify", certificate, model, *trust)
    print(f"certificate: {certificate}, holds for {model}: {found['findings']['level']}")
    for parent in found["parents"]:
        print(f"parent: {parent['name']} {parent['outcome']}: {parent['findings']['level']}")
    report = call("run", "report", run, "--certificate", certificate, *trust, "--out", run.with_suffix(".html"))
    print(f"report: {report['file']}: {report['finding']}")
