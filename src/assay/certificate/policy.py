"""What a reader asks of a certificate. It comes from the reader alone; nothing inside a certificate can change it.

Source: `spec/certificate.md`, CRT-29.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import msgspec

from assay.certificate.ledger_check import Anchor
from assay.certificate.statement import Level

LEVELS: tuple[Level, ...] = ("observed", "replayable", "recomputed")
"""Levels of evidence, from the weakest."""

DEFAULT_SHARE = Fraction(1, 10)


class TrustPolicy(msgspec.Struct, frozen=True):
    """Whose word counts, and how much must have been recomputed.

    Args:
        keys: trusted public keys (32 bytes) and the reader's names for them. The recorder's own key never counts,
            even if it is listed here.
        minimal_level: the weakest level of evidence that is enough.
        minimal_share: the smallest share of the N intervals that must have been drawn uniformly (or taken all) and
            recomputed, 0 to 1. Flagged and private intervals never count.
        anchors: ledgers whose verdicts count, by chain id. A genesis inside a certificate is never one.
    """

    keys: Mapping[bytes, str] = {}
    minimal_level: Level = "recomputed"
    minimal_share: Fraction = DEFAULT_SHARE
    anchors: Mapping[bytes, Anchor] = {}
