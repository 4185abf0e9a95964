"""What the nouns of a ledger need: which node, which anchor, whose key, how many points."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from assay.errors import UsageError

if TYPE_CHECKING:
    from assay.client.checking import Inclusion
    from assay.client.node_client import NodeClient
    from assay.protocol.blocks import Genesis

DEFAULT_URL: Final = "http://127.0.0.1:7373"
_NODE_LIBRARIES: Final = ("fastapi", "httpx", "prometheus_client", "uvicorn")
_KEY: Final = re.compile("[0-9a-f]{64}")


class PointsRefused(UsageError):
    """A text that is no number of points."""

    code = "ledger.points"


class AccountUnknown(UsageError):
    """A name that is neither one of your keys, nor a key that you trust, nor 64 digits."""

    code = "ledger.account"


class IdRefused(UsageError):
    """A text that is no id."""

    code = "ledger.id"


class CarriedOutNot(UsageError):
    """The transaction stands in a block and was refused there; its fee is gone."""

    code = "ledger.refused"


class ClientMissing(UsageError):
    """The command runs a node or talks to one, and the libraries for that are not installed."""

    code = "ledger.client-missing"


def require_node() -> None:
    """Check that the libraries of the extra `node` can be imported, without importing them.

    Raises:
        ClientMissing: they are not installed.
    """
    missing = [name for name in _NODE_LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ClientMissing(
            "this command needs the libraries of a node",
            actual=", ".join(missing),
            next_step="pip install 'assay[node]'",
        )


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add which node and which anchor."""
    parser.add_argument("--node", metavar="URL", help=f"default: ASSAY_NODE, the node on this machine, {DEFAULT_URL}")
    parser.add_argument(
        "--anchor",
        metavar="NAME|FILE",
        help="whose ledger: what `assay trust add --anchor` named (default: the only one)",
    )


def add_payment(parser: argparse.ArgumentParser) -> None:
    """Add who signs and pays, and whether to spend at all."""
    parser.add_argument("--from", dest="sender", required=True, metavar="NAME", help="your key that signs and pays")
    parser.add_argument("--fee", type=read_points, metavar="POINTS", help="default: the least that the ledger takes")
    parser.add_argument("--dry-run", action="store_true", help="say what would be spent, and spend nothing")
    parser.add_argument("--no-wait", action="store_true", help="return before the transaction is in a block")


def open_client(arguments: argparse.Namespace) -> NodeClient:
    """Return a client of the chosen node, anchored in the chosen genesis.

    Raises:
        AnchorMissing: no anchor, or several and none was chosen.
        ClientMissing: the extra `node` is not installed.
    """
    require_node()
    from assay.client.node_client import NodeClient

    return NodeClient(find_url(arguments.node), find_anchor(arguments.anchor))


def find_url(chosen: str | None) -> str:
    """Return the address of the node: what was chosen, ASSAY_NODE, the node of this home, or the default."""
    if chosen or os.environ.get("ASSAY_NODE"):
        return chosen or os.environ["ASSAY_NODE"]
    from assay.node.address import read_address
    from assay.storage.paths import get_home

    address = read_address(get_home() / "node")
    return DEFAULT_URL if address is None else address.url


def find_anchor(chosen: str | None) -> Genesis:
    """Return the genesis that was chosen by name or file, or the only one that is trusted."""
    from assay.storage.anchors import read_anchor, read_genesis_file

    if chosen is not None and Path(chosen).is_file():
        return read_genesis_file(Path(chosen))
    return read_anchor(chosen)


def find_account(text: str) -> bytes:
    """Return the key of an account: 64 digits, the name of one of your keys, or of a key that you trust.

    Raises:
        AccountUnknown: none of these.
    """
    from assay.storage.keyring import list_keys, read_public_key
    from assay.storage.trust_store import read_trust

    if _KEY.fullmatch(text):
        return bytes.fromhex(text)
    if text in list_keys():
        return read_public_key(text)
    trusted = read_trust()
    if text in trusted:
        return trusted[text]
    raise AccountUnknown(
        "no account of this name",
        expected="64 hex digits, one of your keys, or a trusted key",
        actual=ascii(text[:80]),
        next_step="assay account new NAME",
    )


def read_points(text: str) -> int:
    """Return a number of points, 0 to 2⁶³ − 1.

    Raises:
        PointsRefused: anything else.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63):
        raise PointsRefused("not a number of points", expected="a whole number", actual=ascii(text[:40]))
    return int(text)


def read_id(text: str) -> bytes:
    """Return an id of 64 hex digits.

    Raises:
        IdRefused: anything else.
    """
    if not _KEY.fullmatch(text):
        raise IdRefused("not an id", expected="64 lower-case hex digits", actual=ascii(text[:80]))
    return bytes.fromhex(text)


def require_carried_out(inclusion: Inclusion) -> None:
    """Check that a transaction in a block was carried out.

    Raises:
        CarriedOutNot: it was refused there.
    """
    if inclusion.result.code:
        raise CarriedOutNot(
            f"refused in block {inclusion.height}: {inclusion.message or inclusion.result.code}",
            actual=inclusion.result.code,
            next_step=f"the fee of {inclusion.result.fee} is paid" if inclusion.result.charged else None,
        )
