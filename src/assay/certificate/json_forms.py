"""The forms of the parts of a predicate that a ledger adds, and what all of them share.

Source: `spec/certificate.md`.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Json(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Base of every object of the predicate."""


class Chance(Json, frozen=True):
    """A probability as an exact fraction in lowest terms and rounded to six digits for people."""

    fraction: str
    rounded: str


class SealedHeader(Json, frozen=True):
    """A header (base64) and the engine's seal over it (base64): the commit proof of engine `solo`."""

    header: str
    seal: str


class StateClaim(Json, frozen=True):
    """A record of the ledger state (base64), its proof (base64), and which header proves it."""

    header: int
    value: str
    proof: str


class LedgerClaim(Json, frozen=True):
    """The evidence of a ledger about one submission; see `spec/certificate.md`."""

    chain_id: str
    engine: Literal["solo"]
    fault_model: str
    issuer: str
    headers: list[SealedHeader]
    drawn: list[int]  # which headers are those of the draw height, of the end of the flags, of each later draw
    submission: StateClaim
    status: StateClaim
    draw: StateClaim
    snapshot: StateClaim
    judged: StateClaim
    judgements: list[StateClaim]
    attempts: StateClaim
    assumed_share: str
    corrupt: Chance
    disputes: Literal["none"]
    handovers: Literal["none"]
    witnesses: Literal["none"]
