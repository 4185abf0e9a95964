"""Where Assay keeps what belongs to a person rather than to a run: keys and trusted keys."""

from __future__ import annotations

import os
from pathlib import Path

from assay.errors import UsageError


class HomeUnknown(UsageError):
    """No folder for keys and trusted keys can be named."""

    code = "storage.home"


def get_home() -> Path:
    """Return the folder of keys and trusted keys; it need not exist yet.

    `ASSAY_HOME` wins, then `$XDG_DATA_HOME/assay`, then `~/.local/share/assay`. As the XDG rules say, a relative
    `XDG_DATA_HOME` is ignored; a relative `ASSAY_HOME` is refused, since it would change with the working directory.

    Raises:
        HomeUnknown: `ASSAY_HOME` is relative, or nobody's home directory can be found.

    Source: XDG Base Directory Specification, 0.8.
    """
    own = os.environ.get("ASSAY_HOME", "")
    if own:
        path = Path(own)
        if not path.is_absolute():
            raise HomeUnknown(
                "ASSAY_HOME is not an absolute path",
                expected="an absolute path",
                actual=own,
                next_step="export it again",
            )
        return path
    shared = os.environ.get("XDG_DATA_HOME", "")
    if shared and Path(shared).is_absolute():
        return Path(shared) / "assay"
    try:
        return Path.home() / ".local" / "share" / "assay"
    except RuntimeError as error:
        raise HomeUnknown(
            "the home directory is not known", actual=str(error), next_step="set ASSAY_HOME to an absolute path"
        ) from None
