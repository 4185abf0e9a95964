"""Make the model and the certificate that ship in the package: `python -m tools.demo_data`.

A real run is recorded and audited under a key that is thrown away afterwards. The bits depend on the machine, so the
files are made once for each version of the formats, not in every build.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from assay.cli.demo import CERTIFICATE, DATA, KEY, MODEL


def main() -> None:
    """Record, audit, certify and write the three files."""
    with tempfile.TemporaryDirectory(prefix="assay-demo-data-") as name:
        folder = Path(name)
        os.environ["ASSAY_HOME"] = str(folder / "home")
        from assay.demonstration import digits  # after ASSAY_HOME is set, so that keys are made there
        from assay.storage.keyring import read_or_create_seed, read_public_key
        from assay.training.profile_environment import environment_for
        from assay.verification.audit import audit_run
        from assay.verification.certify import certify, export_model, read_final

        digits.main(str(folder / "run"))
        seed = read_or_create_seed("demo")
        key = read_public_key("demo")
        audit = audit_run(folder / "run", auditor=key, environment=environment_for)
        DATA.mkdir(exist_ok=True)
        (DATA / CERTIFICATE).write_bytes(certify(audit, seed))
        with (DATA / MODEL).open("wb") as file:
            export_model(read_final(audit.run), file.write)
        (DATA / KEY).write_text(f"{key.hex()}\n", encoding="ascii")


if __name__ == "__main__":
    main()
