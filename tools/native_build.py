"""Compile src/assay/kernels/native/*.c into one shared library beside the loader: `python -m tools.native_build`.

One instruction set per file: the end of a file's name says which flags it gets, and files for another processor are
left out. Nothing is done where the library is already that of the sources. CC chooses the compiler, CFLAGS adds flags.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from assay.kernels.sources import FOLDER, LIBRARY, compute_source_digest  # noqa: E402

FLAGS = [
    "-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing",
    "-Wall", "-Wextra", "-Wshadow", "-Wvla",
]  # fmt: skip
"""Of every file. No -ffast-math and no contraction: a bit must not depend on the compiler."""

X86_FLAGS = {
    "_sha": ["-msha", "-msse4.1", "-mssse3"],
    "_avx2": ["-mavx2", "-mfma", "-mf16c", "-mbmi2"],
    "_avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c", "-mbmi2"],
}
"""Further flags by the end of a file's name; such files are compiled for x86-64 only."""

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-Wno-maybe-uninitialized"]
"""The sanitizers' own code makes gcc guess wrong about what is initialised."""

OTHER_MACHINE = ["-DASSAY_X86_64=0"]
"""Only what every machine has is compiled."""

COMPILERS = ("cc", "gcc", "clang")


class NativeBuildError(Exception):
    """No compiler, or one that refuses the sources."""


def find_compiler() -> list[str] | None:
    """Return the command of the C compiler, CC first; None: there is none."""
    chosen = os.environ.get("CC")
    if chosen:
        return shlex.split(chosen)
    return next(([name] for name in COMPILERS if shutil.which(name)), None)


def choose_sources(machine: str) -> list[tuple[Path, list[str]]]:
    """Return the files to compile on a machine, each with its flags."""
    is_x86 = machine.lower() in {"x86_64", "amd64"}
    chosen = []
    for path in sorted(FOLDER.glob("*.c")):
        suffix = next((end for end in X86_FLAGS if path.stem.endswith(end)), None)
        if suffix is None or is_x86:
            chosen.append((path, X86_FLAGS[suffix] if suffix else []))
    return chosen


def is_fresh(library: Path) -> bool:
    """Return whether the library carries the digest of the sources on disk."""
    digest = compute_source_digest()
    return digest is not None and library.exists() and digest.encode() in library.read_bytes()


def run(command: list[str]) -> None:
    """Run the compiler.

    Raises:
        NativeBuildError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NativeBuildError(f"{shlex.join(command)}\n{done.stderr}")
    if done.stderr:
        print(done.stderr, file=sys.stderr)


def build(library: Path = LIBRARY, extra: list[str] | None = None, machine: str = "") -> Path:
    """Compile and link; the old library is replaced at the end, in one step.

    Args:
        library: where to.
        extra: further flags, after all others.
        machine: choose the files for another kind of machine than this one.

    Raises:
        NativeBuildError: there is no compiler, or it refuses the sources.
    """
    compiler = find_compiler()
    if compiler is None:
        raise NativeBuildError(f"expected a C compiler, found none of {', '.join(COMPILERS)}; install one or set CC")
    added = [*shlex.split(os.environ.get("CFLAGS", "")), *(extra or [])]
    digest = f'-DASSAY_SOURCE_DIGEST="{compute_source_digest()}"'
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".native-") as scratch, ThreadPoolExecutor() as pool:
        sources = choose_sources(machine or platform.machine())
        objects = [str(Path(scratch) / f"{path.stem}.o") for path, _ in sources]
        commands = [
            [*compiler, *FLAGS, *flags, *added, digest, "-c", str(path), "-o", output]
            for (path, flags), output in zip(sources, objects, strict=True)
        ]
        list(pool.map(run, commands))
        output = str(Path(scratch) / library.name)
        run([*compiler, "-shared", *added, *objects, "-lm", "-o", output])
        Path(output).replace(library)
    return library


def main() -> int:
    """Build where it is needed; the exit status is 2 if it cannot be built."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sanitize", action="store_true", help="with the address and undefined-behaviour sanitizers")
    parser.add_argument("--portable", action="store_true", help="as on a machine without files of its own")
    parser.add_argument("--strict", action="store_true", help="a warning is an error; always build")
    arguments = parser.parse_args()
    extra = (SANITIZE if arguments.sanitize else []) + (["-Werror"] if arguments.strict else [])
    extra += OTHER_MACHINE if arguments.portable else []
    if not extra and is_fresh(LIBRARY):
        return 0
    try:
        library = build(extra=extra, machine="other" if arguments.portable else "")
        print(f"built {library.relative_to(ROOT)}")
    except NativeBuildError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
