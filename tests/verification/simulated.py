"""Verifiers on a ledger in memory: the whole of its rules, no network, no clock."""

from assay.protocol.contracts.submission_keys import status_key
from assay.protocol.contracts.submission_records import FINAL, SubmissionStatus
from assay.protocol.evidence.votes import DIFFERS, MATCHES
from assay.storage.vote_journal import VoteJournal
from assay.training.pytorch.backend import TorchBackend
from assay.training.recompute import Recomputer
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer
from assay.training.work_digest import WorkHasher
from assay.verification.package import Terms, build_package
from assay.verification.verifier.copies import Copies
from assay.verification.verifier.judging import Finding, compute_known_answers
from assay.verification.verifier.process import Verifier
from experiments.simulation.world import World, make_actor, make_parameters, name_actors, verify_conserved

TERMS = Terms(
    sample=3, sub_quorum=3, measure=0, threshold_ppm=5_000_000, bond=100_000, reward=100, retention=1000, attempt=1
)


class Killed(BaseException):
    """The process is dead."""


class Fuse:
    """Counts steps, and kills at one of them."""

    def __init__(self, at=0):
        self.at, self.count = at, 0

    def burn(self):
        """Return whether this is the step."""
        self.count += 1
        return self.count == self.at


class Direct:
    """Computes at once in this thread, so that a test knows when something was done."""

    def submit(self, work):
        """Do it, and return something that looks like a future that is done."""
        done = Done()
        try:
            done.value = work()
        except Exception as error:  # noqa: BLE001 - handed on by result()
            done.error = error
        return done

    def shutdown(self, **_):
        """Nothing runs."""


class Done:
    """A future that is done."""

    value = error = None

    def done(self):
        """It is."""
        return True

    def result(self):
        """Return or raise what came."""
        if self.error is not None:
            raise self.error
        return self.value


class WorldLedger:
    """Implements `Ledger` over a simulated one; `blobs` holds everything that was uploaded."""

    def __init__(self, world, actor, blobs):
        self.world, self.actor, self.blobs = world, actor, blobs
        self.chain_id, self.parameters = world.chain_id, world.parameters
        self.sent = []
        self.fuse = None

    def get_height(self):
        return self.world.height

    def read(self, key, kind):
        return self.world.read(key, kind)

    def fetch(self, digest, length):
        return self.blobs.fetch(digest, length)

    def send(self, body):
        self.step("before sending")
        self.sent.append(body)
        code = self.world.do(self.actor, body).code
        self.step("after sending")
        return code

    def step(self, where):
        """Die, if it is time."""
        if self.fuse is not None and self.fuse.burn():
            raise Killed(where)

    def wait(self, seconds):
        del seconds


OPENED = {}
"""Recomputers by the folder of a copy."""


class FastJudge:
    """Recomputes in this process; every run is opened once."""

    def judge(self, run, numbers, key):
        """Return what recomputing gives."""
        closing = RecordedRun(run).closing
        recomputer = self._open(run)
        found = {}
        for number in numbers:
            computed = recomputer.answer(number, key)
            found[number] = Finding(
                outcome=MATCHES if computed.matches else DIFFERS,
                end_root=computed.end_root,
                leaves=computed.leaves,
                work_digest=computed.work_digest,
                known_answer=compute_known_answers(closing),
                replays=1 if computed.matches else 2,
            )
        return found

    def close(self):
        """Nothing is kept."""

    def _open(self, path):
        if path not in OPENED:
            run, hasher = RecordedRun(path), WorkHasher()
            OPENED[path] = Recomputer(Replayer(run, TorchBackend(run.start.aliases, hasher)), hasher)
        return OPENED[path]


class Simulation:
    """A ledger with verifiers and a submitter.

    Args:
        folder: for journals and copies.
        count: verifiers.
        judges: by number of the verifier; the others recompute.
        parameters: changes.
    """

    def __init__(self, folder, count=7, judges=None, silent=(), analyst=None, **parameters):
        settings = {
            "quorum": count,
            "min_sub_quorum": 3,
            "availability_blocks": 60,
            "commit_blocks": 60,
            "reveal_blocks": 60,
            "flag_blocks": 20,
            "unbonding_blocks": 2000,
            "minimum_bond": 1000,
            **parameters,
        }
        self.submitter = make_actor("submitter")
        self.actors = tuple(name_actors("verifier", count))
        self.world = World(make_parameters(**settings), (self.submitter, *self.actors), length=4000)
        self.world.stake(dict.fromkeys(self.actors, 10_000))
        self.blobs = None
        self.folder = folder
        self.judges = judges or {}
        self.silent = silent
        self.analyst = analyst
        self.verifiers = {}
        self.said = []

    def submit(self, run, nonce=0, terms=TERMS):
        """Submit a recorded run; the blobs are there at once. Return its package."""
        package = build_package(
            RecordedRun(run), seed=self.submitter.seed, chain_id=self.world.chain_id, nonce=nonce, terms=terms
        )
        result = self.world.do(self.submitter, package.body)
        if result.code:
            raise AssertionError(result.code)
        self.blobs.chunks |= dict(package.iterate_chunks())
        return package

    def start(self, number):
        """Return a verifier, as after a start of its process."""
        actor = self.actors[number]
        home = self.folder / f"verifier{number}"
        home.mkdir(mode=0o700, exist_ok=True)
        verifier = Verifier(
            actor.account,
            WorldLedger(self.world, actor, self.blobs),
            VoteJournal(home / "journal"),
            Copies(home / "copies", max_bytes=1 << 30),
            self.judges.get(number, FastJudge()),
            analyst=self.analyst,
            say=lambda text: self.said.append((number, text)),
        )
        verifier._fetcher.shutdown()
        verifier._computer.shutdown()
        verifier._fetcher = verifier._computer = Direct()
        self.verifiers[number] = verifier
        return verifier

    def stop(self, number):
        """Let a verifier go, as a kill does: only what is on the disk stays."""
        verifier = self.verifiers.pop(number)
        verifier.journal.close()

    def get_balances(self):
        """Return the points of all verifiers, stake included."""
        return [self.world.get_balance(actor) for actor in self.actors]

    def run(self, submission, looks=400):
        """Let everybody look in turn until the submission is final; return its status."""
        for number in range(len(self.actors)):
            if number not in self.verifiers and number not in self.silent:
                self.start(number)
        for _ in range(looks):
            for verifier in list(self.verifiers.values()):
                verifier.look()
            self.world.make_block()
            status = self.get_status(submission)
            verify_conserved(self.world.store.values)
            if status.phase == FINAL:
                return status
        raise AssertionError(f"not final after {looks} looks: {status}")

    def get_status(self, submission):
        """Return the status of a submission."""
        return self.world.expect(status_key(submission), SubmissionStatus)
