"""What an account earned and lost by submissions, from proven records alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assay.client.explaining import explain
from assay.client.node_client import NodeClient
from assay.client.submissions import iterate_submissions, read_details


@dataclass(frozen=True)
class Earning:
    """Points that an account gained (above 0) or lost (below 0) through one submission, and why."""

    submission: bytes
    points: int
    kind: str
    reason: str


def read_earnings(
    client: NodeClient, account: bytes, progress: Callable[[int, int], None] | None = None
) -> list[Earning]:
    """Return everything that moved for an account, the newest submission first."""
    facts = list(iterate_submissions(client))
    found = []
    for number, each in enumerate(facts, 1):
        if progress is not None:
            progress(number, len(facts))
        identity = each.submission.submission
        for story in explain(read_details(client, identity)):
            if story.account == account:
                found += [Earning(identity, entry.points, entry.kind, entry.reason) for entry in story.entries]
    return found
