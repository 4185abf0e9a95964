"""`assay demo`: the whole story on real data.

`assay demo verify [--tamper]`: a model and certificate that ship in the package; their key counts this once.
`assay demo network`: a ledger, a node, thirteen verifiers, four submissions.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from assay.cli.commands import add_json, add_verbs
from assay.cli.meter import Meter, require_training
from assay.cli.output import print_json, print_line, print_strong
from assay.errors import StorageError

DATA = Path(__file__).resolve().parent.parent / "demo_data"
CERTIFICATE, MODEL, KEY = "demo.assay.json", "demo.safetensors", "demo.key.txt"


class DemoMissing(StorageError):
    """The demonstration files are not in this installation."""

    code = "demo.missing"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--folder", default="runs/demo", metavar="FOLDER", help="where to write (default: runs/demo)")
    verbs = add_verbs(
        parser,
        {
            "verify": "verify a model and a certificate that ship in the package",
            "network": "a ledger, a node, thirteen verifiers (two lying, one lazy, one silent), four submissions",
        },
        required=False,
    )
    add_json(parser)
    verbs["network"].add_argument("--out", default="runs/network", metavar="FOLDER", help="default: runs/network")
    add_json(verbs["network"])
    verbs["verify"].add_argument("--tamper", action="store_true", help="flip one bit of a copy of the model first")
    add_json(verbs["verify"])


def execute(arguments: argparse.Namespace) -> int:
    """Tell the story, or verify the demonstration that ships; with `--tamper` the refutation is raised."""
    if arguments.verb == "verify":
        return verify_demo(DATA, tamper=arguments.tamper, as_json=arguments.json)
    require_training("assay demo")
    with Meter(quiet=arguments.json) as meter:
        if arguments.verb == "network":
            from assay.demonstration.network import NetworkDemonstration

            folder = arguments.out
            findings = NetworkDemonstration(Path(folder), meter.say, meter.update).run()
        else:
            from assay.demonstration.story import Demonstration

            folder = arguments.folder
            findings = Demonstration(Path(folder), meter.say, meter.update).run()
    if arguments.json:
        print_json({"exit": 0, **findings})
    else:
        print_strong(f"all findings right, in {findings['seconds']} s; everything is in {folder}")
    return 0


def verify_demo(folder: Path, *, tamper: bool, as_json: bool) -> int:
    """Verify the demonstration files in a folder, trusting the key beside them for this call only.

    Raises:
        DemoMissing: they are not there.
        Refuted: with `tamper`, always.
    """
    from assay.certificate.policy import TrustPolicy
    from assay.cli.verify import verify_files
    from assay.storage.files import Files, read_file
    from assay.storage.trust_store import parse_key

    for name in (CERTIFICATE, MODEL, KEY):
        if not (folder / name).is_file():
            raise DemoMissing("the demonstration is not in this installation", expected=folder / name)
    key = parse_key(read_file(Files(), folder / KEY, 200).decode("ascii", "replace").strip())
    policy = TrustPolicy({key: "demo key, trusted for this command only"})
    if not tamper:
        return verify_files(folder / CERTIFICATE, folder / MODEL, policy, as_json=as_json)
    data = bytearray(read_file(Files(), folder / MODEL))
    data[-1] ^= 1
    with tempfile.TemporaryDirectory(prefix="assay-demo-") as name:
        copy = Path(name) / MODEL
        copy.write_bytes(data)
        if not as_json:
            print_line("flipped the lowest bit of the last byte of a copy of the model:")
        return verify_files(folder / CERTIFICATE, copy, policy, as_json=as_json)
