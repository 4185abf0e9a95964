"""Builds the native library when a wheel or an editable install is made.

ASSAY_NATIVE_BUILD=require makes a missing compiler an error, =skip builds no library. Unset: without a compiler the
package comes without it and computes the same, slower. A compiler that refuses the sources is always an error.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tools.native_build import LIBRARY, build, find_compiler, is_fresh


class NativeBuildHook(BuildHookInterface):
    """Compiles, and tags the wheel with the platform: the library is loaded with ctypes, so any Python 3 will do."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before files are collected."""
        del version
        wish = os.environ.get("ASSAY_NATIVE_BUILD", "")
        if wish == "skip" or (find_compiler() is None and wish != "require"):
            self.app.display_warning("assay is installed without its native library: correct, and slower")
            return
        if not is_fresh(LIBRARY):
            build()
        build_data["artifacts"].append(f"/src/assay/kernels/native/{LIBRARY.name}")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
