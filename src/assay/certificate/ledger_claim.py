"""What a ledger adds to a certificate: proven records of its state, and the headers that they are proven under.

Source: `spec/certificate.md`, CRT-32 to CRT-35.
"""

from __future__ import annotations

from fractions import Fraction

from assay.certificate.dsse import encode_base64
from assay.certificate.interval_findings import format_chance
from assay.certificate.json_forms import Chance, SealedHeader, StateClaim
from assay.protocol.blocks import Header
from assay.protocol.contracts.submission_records import SubmissionStatus
from assay.protocol.encoding import Record, encode
from assay.protocol.evidence.chances import compute_corrupt_chance
from assay.protocol.evidence.draw import Draw
from assay.protocol.ledger_proofs import StateProof
from assay.protocol.params import SubmissionParameters

DEFAULT_SHARE = Fraction(1, 5)
"""Share of lying stake that a certificate assumes unless told otherwise."""


class ProvenRecord(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A record of the ledger state with its proof under a sealed header; what a client hands over."""

    value: bytes
    proof: StateProof
    header: Header
    seal: bytes


def list_draw_heights(draw: Draw, rules: SubmissionParameters, status: SubmissionStatus) -> tuple[int, ...]:
    """Return the heights whose beacons drew seats: draw, end of the flags, each later draw (CRT-34)."""
    first = draw.facts.draw_height
    return (first, first + rules.flag_blocks, *status.later_draws)


class HeaderList:
    """Collects headers, each once."""

    def __init__(self) -> None:
        self.sealed: list[SealedHeader] = []

    def add(self, header: Header, seal: bytes) -> int:
        """Return the place of a header."""
        sealed = SealedHeader(encode_base64(encode(header)), encode_base64(seal))
        if sealed not in self.sealed:
            self.sealed.append(sealed)
        return self.sealed.index(sealed)

    def claim(self, proven: ProvenRecord) -> StateClaim:
        """Return a record as a certificate shows it."""
        place = self.add(proven.header, proven.seal)
        return StateClaim(place, encode_base64(proven.value), encode_base64(encode(proven.proof)))


def describe_share(share: Fraction) -> str:
    """Return a share as a certificate shows it."""
    return f"{share.numerator}/{share.denominator}"


def claim_corrupt(sub_quorum: int, share: Fraction) -> Chance:
    """Return c as a certificate shows it."""
    return format_chance(compute_corrupt_chance(sub_quorum, share))
