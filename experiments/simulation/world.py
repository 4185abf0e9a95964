"""A whole ledger in one process: operator, accounts and verifiers as objects, blocks on demand, no clock, no torch.

Everything goes through the real door: signed transactions, the application, sealed blocks, provable state. Only the
training is pretended: a run is a list of roots, and the truth about it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from assay.consensus.engine import FinalizedBlock
from assay.consensus.in_memory import MemoryEngine, make_solo_config
from assay.node.application import LedgerApplication
from assay.node.memory_store import MemoryStore
from assay.protocol import tags
from assay.protocol.blocks import Endowment, Genesis, Result, compute_chain_id
from assay.protocol.contracts.account_records import Account, Supply
from assay.protocol.contracts.accounts import SUPPLY_KEY, account_key
from assay.protocol.contracts.stake_records import DepositStake, Stake
from assay.protocol.contracts.submission_keys import status_key
from assay.protocol.contracts.submission_records import SubmissionStatus
from assay.protocol.encoding import RecordT
from assay.protocol.hashing import tag_bytes
from assay.protocol.params import DEFAULT_PARAMETERS, Parameters
from assay.protocol.signatures import get_public_key
from assay.protocol.transactions import Body, Transaction, sign_transaction

WEALTH = 10**12
"""Points that each actor of a simulated ledger begins with."""


def make_parameters(**changes: int) -> Parameters:
    """Return parameters with short windows; `changes` are fields of the contracts' parameters, or of the ledger's."""
    short = {
        "availability_blocks": 6,
        "draw_delay": 2,
        "flag_blocks": 2,
        "commit_blocks": 4,
        "reveal_blocks": 4,
        "window_blocks": 3,
        "max_retention": 10_000,
        "unbonding_blocks": 200,
        **changes,
    }
    parts = {}
    for name in ("stakes", "submissions"):
        part = getattr(DEFAULT_PARAMETERS, name)
        own = {key: short.pop(key) for key in part.__struct_fields__ if key in short}
        parts[name] = msgspec.structs.replace(part, **own)
    return msgspec.structs.replace(DEFAULT_PARAMETERS, **parts, **short)


@dataclass(frozen=True)
class Actor:
    """Somebody with a key."""

    name: str
    seed: bytes
    account: bytes


def make_actor(name: str) -> Actor:
    """Return the actor of a name: always the same key."""
    seed = sha256(b"actor " + name.encode()).digest()
    return Actor(name, seed, get_public_key(seed))


@dataclass
class World:
    """A ledger and everybody on it.

    Attributes:
        parameters: of the ledger.
        actors: who has points from the start.
        name: of the ledger; another name, another chain id and other beacons.
        length: blocks that it can have.
    """

    parameters: Parameters
    actors: tuple[Actor, ...]
    name: str = "simulated"
    length: int = 2000
    operator: Actor = field(default_factory=lambda: make_actor("operator"))

    def __post_init__(self) -> None:
        beacon_seed = sha256(b"beacon " + self.name.encode()).digest()
        self.genesis = Genesis(
            version=0,
            name=self.name,
            time=0,
            engine=make_solo_config(self.operator.seed, beacon_seed, self.length),
            parameters=self.parameters,
            balances=tuple(Endowment(account, WEALTH) for account in sorted(actor.account for actor in self.actors)),
        )
        self.chain_id = compute_chain_id(self.genesis)
        self.store = MemoryStore()
        self.application = LedgerApplication(self.store)
        self.application.init_chain(self.genesis)
        self.engine = MemoryEngine(self.application, self.operator.seed, beacon_seed, self.length)
        self.results: dict[bytes, Result] = {}
        self._sent: dict[bytes, int] = {}

    @property
    def height(self) -> int:
        """Height of the last block."""
        return len(self.engine.blocks)

    def read(self, key: bytes, kind: type[RecordT]) -> RecordT | None:
        """Return a record of the ledger state."""
        value = self.store.get(key)
        return None if value is None else msgspec.msgpack.decode(value, type=kind)

    def expect(self, key: bytes, kind: type[RecordT]) -> RecordT:
        """Return a record that is there."""
        found = self.read(key, kind)
        if found is None:
            raise LookupError(f"no {kind.__name__} under {key.hex()}")
        return found

    def get_balance(self, actor: Actor) -> int:
        """Return the points of an actor, without its stake."""
        found = self.read(account_key(actor.account), Account)
        return 0 if found is None else found.balance

    def get_status(self, submission: bytes) -> SubmissionStatus:
        """Return how far a submission has come."""
        return self.expect(status_key(submission), SubmissionStatus)

    def sign(self, actor: Actor, body: Body, *, fee: int = 1, nonce: int | None = None) -> bytes:
        """Return a signed transaction with the actor's next nonce, or another one."""
        found = self.read(account_key(actor.account), Account)
        base = 0 if found is None else found.nonce
        number = base + self._sent.get(actor.account, 0) if nonce is None else nonce
        return sign_transaction(actor.seed, self.chain_id, Transaction(0, actor.account, number, fee, body))

    def send(self, actor: Actor, body: Body) -> bytes:
        """Send a transaction for the next block; return its id."""
        identity = self.engine.submit(self.sign(actor, body))
        self._sent[actor.account] = self._sent.get(actor.account, 0) + 1
        return identity

    def make_block(self) -> FinalizedBlock:
        """Make a block of what was sent."""
        finalized = self.engine.make_block()
        self._sent.clear()
        self.results.update((result.transaction, result) for result in finalized.results)
        return finalized

    def do(self, actor: Actor, body: Body) -> Result:
        """Send one transaction, make a block, and return what became of it."""
        identity = self.send(actor, body)
        self.make_block()
        return self.results[identity]

    def pass_blocks(self, count: int) -> None:
        """Make empty blocks."""
        for _ in range(count):
            self.make_block()

    def stake(self, stakes: Mapping[Actor, int]) -> None:
        """Let actors deposit, and wait for a snapshot that a submission can use."""
        for actor, amount in stakes.items():
            self.send(actor, DepositStake(amount))
        self.make_block()
        rules = self.parameters.stakes
        self.pass_blocks(rules.snapshot_period - self.height % rules.snapshot_period + rules.snapshot_age - 1)


def count_points(values: Mapping[bytes, bytes]) -> tuple[int, Supply]:
    """Return all points that the ledger state holds somewhere, and the supply that says how many there must be."""
    held = sum(_count(key, value) for key, value in values.items())
    return held, msgspec.msgpack.decode(values[SUPPLY_KEY], type=Supply)


def verify_conserved(values: Mapping[bytes, bytes]) -> None:
    """Check that no point was made or lost: held = issued − burned.

    Raises:
        ArithmeticError: they differ.
    """
    held, supply = count_points(values)
    if held != supply.issued - supply.burned:
        raise ArithmeticError(f"{held} points held, {supply.issued} issued, {supply.burned} burned")


def _count(key: bytes, value: bytes) -> int:
    if key.startswith(tag_bytes(tags.ACCOUNTS_CONTRACT)):
        return msgspec.msgpack.decode(value, type=Account).balance
    if key.startswith(tag_bytes(tags.STAKES_CONTRACT) + b"stake/"):
        stake = msgspec.msgpack.decode(value, type=Stake)
        return stake.bonded + sum(waiting.amount for waiting in stake.unbondings)
    if key.startswith(tag_bytes(tags.SUBMISSIONS_CONTRACT) + b"status/"):
        status = msgspec.msgpack.decode(value, type=SubmissionStatus)
        return status.bond + status.escrow
    return 0


def name_actors(prefix: str, count: int) -> Iterator[Actor]:
    """Yield numbered actors."""
    return (make_actor(f"{prefix} {number}") for number in range(count))
