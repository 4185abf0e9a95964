"""Amounts of points: integers from 0 to 2⁶³ − 1, with sums and differences that never leave that range.

A ledger may run without a token; then every amount is 0. Points are created in the genesis and nowhere else.

Source: `spec/accounts.md`, ACC-1.
"""

from __future__ import annotations

from typing import ClassVar, Final

from assay.errors import InvalidTransaction

MAX_AMOUNT: Final = 2**63 - 1
"""The largest amount, and the most points that a ledger has in total."""

MILLION: Final = 1_000_000
"""Shares are given in parts per million."""


class AmountOutOfRange(InvalidTransaction):
    """An amount below 0 or above 2⁶³ − 1, given or as the result of a sum."""

    code: ClassVar[str] = "amount.range"


def verify_amount(amount: int, what: str, least: int = 0) -> None:
    """Check that least ≤ amount ≤ 2⁶³ − 1.

    Raises:
        AmountOutOfRange: it is not.
    """
    if not least <= amount <= MAX_AMOUNT:
        raise AmountOutOfRange(f"{what} is out of range", expected=f"{least} to {MAX_AMOUNT}", actual=amount)


def add_amounts(*amounts: int) -> int:
    """Return the sum of amounts.

    Raises:
        AmountOutOfRange: the sum is above 2⁶³ − 1, or an amount is negative.
    """
    for amount in amounts:
        verify_amount(amount, "an amount")
    total = sum(amounts)
    verify_amount(total, "a sum of amounts")
    return total


def compute_share(amount: int, parts_per_million: int) -> int:
    """Return the given share of an amount, rounded down; 0 ≤ parts_per_million ≤ 1,000,000."""
    return amount * parts_per_million // MILLION
