"""Founding a ledger: genesis, the operator's chain of reveals, and the folder of its node."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import msgspec

from assay.consensus.reveals import RevealChain
from assay.errors import StorageError, UsageError
from assay.protocol.blocks import Endowment, Genesis, SoloConfig, verify_genesis
from assay.protocol.decoders import get_json_decoder
from assay.protocol.encoding import encode
from assay.protocol.params import DEFAULT_PARAMETERS, Parameters, verify_parameters
from assay.protocol.signatures import get_public_key
from assay.storage.anchors import read_genesis_file
from assay.storage.files import Files, write_atomic
from assay.storage.secret_files import read_secret, write_new_secret

GENESIS: Final = "genesis.assay"
"""The file of a node's folder to give to others, as their anchor."""

BEACON: Final = "beacon.json"
DEFAULT_BLOCKS: Final = 2**23
"""Blocks that a ledger can have: 97 days at one a second. The founder chooses; each costs 1 µs once."""

_MAX_BEACON_FILE: Final = 16 * 1024 * 1024


class BeaconDamaged(StorageError):
    """A file that does not hold the operator's chain of reveals."""

    code: ClassVar[str] = "node.beacon-damaged"


class ParametersRefused(UsageError):
    """A text that does not say parameters of a ledger."""

    code: ClassVar[str] = "node.parameters"


class _BeaconFile(msgspec.Struct, forbid_unknown_fields=True):
    length: int
    pebbles: list[str]
    version: Literal[0]

    def __repr__(self) -> str:
        return "_BeaconFile(...)"


@dataclass(frozen=True)
class Founding:
    """What the founder of a ledger decides.

    Attributes:
        name: printable ASCII, 1 to 64 characters.
        balances: points by account key, 32 bytes.
        time: milliseconds since 1970-01-01 UTC.
        parameters: windows, fees, quorums; they never change.
        blocks: how many blocks the ledger can have.
    """

    name: str
    balances: Mapping[bytes, int]
    time: int
    parameters: Parameters = DEFAULT_PARAMETERS
    blocks: int = DEFAULT_BLOCKS


def found_ledger(folder: Path, founding: Founding, operator_seed: bytes) -> Genesis:
    """Write genesis and reveals of a new ledger into a folder, which is made; return the genesis.

    Interrupted and called again, it goes on with the reveals and the genesis that are there.

    Raises:
        MalformedEvidence: the decisions break a rule of the genesis.
        StorageError: the disk.
    """
    files = Files()
    files.mkdir(folder)
    if files.get_kind(folder / BEACON) == "missing":
        chain = RevealChain.build(secrets.token_bytes(32), founding.blocks)
        held = _BeaconFile(chain.length, [each.hex() for each in chain.pebbles], 0)
        write_new_secret(folder / BEACON, msgspec.json.encode(held))
    reveals = read_reveals(folder)
    if files.get_kind(folder / GENESIS) != "missing":
        return read_genesis_file(folder / GENESIS)
    genesis = Genesis(
        version=0,
        name=founding.name,
        time=founding.time,
        engine=SoloConfig(get_public_key(operator_seed), reveals.anchor, reveals.length),
        parameters=founding.parameters,
        balances=tuple(Endowment(account, founding.balances[account]) for account in sorted(founding.balances)),
    )
    verify_genesis(genesis)
    write_atomic(files, folder / GENESIS, [encode(genesis)])
    return genesis


def decode_parameters(data: bytes) -> Parameters:
    """Return the default parameters with the changes in a JSON object, such as `{"submissions": {"quorum": 7}}`.

    Raises:
        ParametersRefused: not such an object, or a name or kind of value that no parameter has.
        MalformedEvidence: parameters out of range, or that do not fit together.
    """
    try:
        changes = get_json_decoder(dict[str, int | dict[str, int]]).decode(data)
        groups = {name: value for name, value in changes.items() if isinstance(value, dict)}
        plain = {name: value for name, value in changes.items() if not isinstance(value, dict)}
        if set(groups) - {"stakes", "submissions"} or set(plain) & {"stakes", "submissions", "version"}:
            raise ParametersRefused("not the parameters of a ledger", actual=", ".join(sorted(changes)))
        replace = msgspec.structs.replace
        parameters = replace(
            DEFAULT_PARAMETERS,
            **plain,
            stakes=replace(DEFAULT_PARAMETERS.stakes, **groups.get("stakes", {})),
            submissions=replace(DEFAULT_PARAMETERS.submissions, **groups.get("submissions", {})),
        )
    except (msgspec.MsgspecError, TypeError, RecursionError) as error:
        raise ParametersRefused("not the parameters of a ledger", actual=str(error)[:200]) from None
    verify_parameters(parameters)
    return parameters


def read_reveals(folder: Path) -> RevealChain:
    """Return the operator's chain of reveals.

    Raises:
        BeaconDamaged: the file is not in its one form.
        StorageError: it is missing, or others can read it.
    """
    path = folder / BEACON
    data = read_secret(path, _MAX_BEACON_FILE)
    try:
        held = get_json_decoder(_BeaconFile).decode(data)
        pebbles = [bytes.fromhex(each) for each in held.pebbles]
    except (msgspec.MsgspecError, ValueError):
        raise BeaconDamaged(f"{path} does not hold a chain of reveals", next_step="restore it from a copy") from None
    return RevealChain(held.length, pebbles)
