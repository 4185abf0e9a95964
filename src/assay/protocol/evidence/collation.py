"""How the samples of a batch become one array per field: the names that a plan may give.

`default` stacks samples of one shape. `pad:M:F0,F1,…` pads: in each field whose samples differ in an extent, that
extent becomes the largest of the batch, rounded up to a multiple of M, and what is missing is Fi, one fill for each
field of the data set. `stored` keeps the outputs of a foreign function.

Source: `spec/data.md`, DAT-12 and DAT-15.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from assay.errors import MalformedEvidence

DEFAULT: Final = "default"
STORED: Final = "stored"
MAX_MULTIPLE: Final = 2**20
MAX_FILL: Final = 10**10

_PADDING: Final = re.compile(r"pad:([1-9][0-9]{0,6}):(-?[0-9]{1,10}(?:,-?[0-9]{1,10}){0,255})")


class CollationUnknown(MalformedEvidence):
    """A plan names a way of collating that is not of the list."""

    code: ClassVar[str] = "plan.collation"


@dataclass(frozen=True)
class Padding:
    """Padding to multiples.

    Attributes:
        multiple: of which padded extents are multiples, at least 1.
        fills: for each field of the data set the number that stands where a sample has ended.
    """

    multiple: int
    fills: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name that a plan gives."""
        return f"pad:{self.multiple}:{','.join(map(str, self.fills))}"


def parse_collation(name: str) -> Padding | None:
    """Return the padding of a name, None for `default` and `stored` (DAT-15).

    Raises:
        CollationUnknown: another name, or one that is not in its one form.
    """
    if name in (DEFAULT, STORED):
        return None
    found = _PADDING.fullmatch(name)
    if found is not None:
        padding = Padding(int(found[1]), tuple(map(int, found[2].split(","))))
        if padding.name == name and padding.multiple <= MAX_MULTIPLE:
            return padding
    raise CollationUnknown(
        "unknown way of collating", expected="default, stored or pad:<multiple>:<fills>", actual=ascii(name[:80])
    )
