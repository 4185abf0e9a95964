"""The command `assay verify` in this process, for the stories about certificates."""

from assay.certificate.verify import verify_certificate
from assay.cli.__main__ import get_exit_code, main
from assay.errors import AssayError
from assay.protocol.signatures import get_public_key


def write_files(folder, certificate, model):
    """Write both files and return their paths as words of a command line."""
    paths = folder / "model.assay.json", folder / "model.safetensors"
    for path, data in zip(paths, (certificate, model), strict=True):
        path.write_bytes(data)
    return [str(path) for path in paths]


def run_verify(folder, certificate, model, *words, trusted=()):
    """Return the exit code of `assay verify` over these bytes, with these seeds' keys trusted."""
    trust = [word for seed in trusted for word in ("--trust", get_public_key(seed).hex())]
    return main(["verify", *write_files(folder, certificate, model), *trust, *words])


def get_code(certificate, policy, model=None):
    """Return the exit code that these bytes lead to, without files."""
    try:
        verify_certificate(certificate, model, policy)
    except AssayError as error:
        return get_exit_code(error)
    return 0
