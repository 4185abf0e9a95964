"""The demonstration: record two models, kill one and resume it, audit, tamper, certify, verify, refute.

Every finding is compared with what it has to be; the story fails if one is not.
"""

from __future__ import annotations

from pathlib import Path

from assay.demonstration.stage import INTERPOLATED, POISONED, Story, train, verify_isolated
from assay.protocol.encoding import bits_to_float
from assay.storage.keyring import read_or_create_seed, read_public_key
from assay.training.profile_environment import environment_for
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.profile import apply_profile
from assay.training.recorded import RecordedRun
from assay.verification.audit import Audit, audit_run
from assay.verification.certify import certify, export_model, read_final
from assay.verification.forgery import Alter, Edit, forge, interpolate, leave_alone, only_in, patch_corner

KILL_AT = 57


class Demonstration(Story):
    """Two models, recorded, killed, resumed, audited, forged, certified, verified."""

    def _tell(self) -> None:
        read_or_create_seed("auditor")
        self._record()
        self._audit_honest()
        self._refute_forgeries()
        self._verify_offline()

    # -- record -------------------------------------------------------------------------------------------------------

    def _record(self) -> None:
        for name, title in (("digits", "convolutional net on digits"), ("text", "transformer on Python's manual")):
            self._train(name, self.folder / name, f"recording a {title}")
            run = RecordedRun(self.folder / name)
            root = run.closing.transcript.root.hex()
            self.say(f"recorded a {title}: {run.steps} steps, transcript root {root[:16]}…")
            run.close()
        self._train("digits", self.folder / "killed", "recording again, to be killed", kill_at=KILL_AT)
        reached = RecordedRun(self.folder / "killed")
        rows = reached.steps
        reached.close()
        self._train("digits", self.folder / "killed", "resuming")
        roots = [self._get_root(name) for name in ("digits", "killed")]
        self._note(
            "resumed",
            {"killed_after": KILL_AT, "rows_on_disk": rows, "same_root": roots[0] == roots[1]},
            f"killed with SIGKILL after step {KILL_AT}, resumed: the same transcript root, bit for bit",
            right=roots[0] == roots[1],
        )

    def _get_root(self, name: str) -> bytes:
        run = RecordedRun(self.folder / name)
        root = run.closing.transcript.root
        run.close()
        return root

    def _train(self, script: str, folder: Path, title: str, kill_at: int = 0) -> None:
        train(script, folder, title, self.progress, kill_at)

    # -- audit --------------------------------------------------------------------------------------------------------

    def _audit(self, folder: Path, title: str) -> Audit:
        return audit_run(
            folder,
            auditor=read_public_key("auditor"),
            environment=environment_for,
            progress=lambda done, total: self.progress(title, done, total),
        )

    def _audit_honest(self) -> None:
        for name, metric in (("digits", "accuracy"), ("text", "perplexity")):
            audit = self._audit(self.folder / name, f"auditing {name}")
            value = bits_to_float(audit.run.closing.evaluations[0].metrics[0].value)
            right = audit.is_complete and not audit.differing
            intervals = len(audit.selection.intervals)
            self._note(
                f"audit_{name}",
                {"intervals": intervals, "differ": [a.index for a in audit.differing], metric: value},
                f"audited {name}: {intervals} of {audit.run.intervals} intervals recomputed, all match; "
                f"test {metric} recomputed: {value:.4g}",
                right=right,
            )
            self._write_certificate(audit, name)

    def _write_certificate(self, audit: Audit, name: str) -> None:
        data = certify(audit, read_or_create_seed("auditor"))
        (self.folder / f"{name}.assay.json").write_bytes(data)
        with (self.folder / f"{name}.safetensors").open("wb") as file:
            export_model(read_final(audit.run), file.write)

    def _refute_forgeries(self) -> None:
        run = RecordedRun(self.folder / "digits")
        apply_profile(run.profile)
        first, last = run.get_interval(POISONED)
        self._refute("poisoned", POISONED, "a backdoor patch in half of each batch", alter=only_in(
            first, last, patch_corner(label=7)))  # fmt: skip
        first, last = run.get_interval(INTERPOLATED)
        self._refute("interpolated", INTERPOLATED, "an interpolated, untrained checkpoint",
            edit=interpolate(first, last, 1.02), skip=frozenset(range(first + 1, last + 1)))  # fmt: skip
        run.close()

    def _refute(
        self,
        name: str,
        interval: int,
        what: str,
        *,
        alter: Alter = leave_alone,
        edit: Edit | None = None,
        skip: frozenset[int] = frozenset(),
    ) -> None:
        honest = RecordedRun(self.folder / "digits")
        backend = TorchBackend(honest.start.aliases)
        forge(self.folder / "digits", self.folder / name, backend, key="forger", alter=alter, edit=edit, skip=skip)
        honest.close()
        audit = self._audit(self.folder / name, f"auditing a forgery: {name}")
        found = [(answer.kind, answer.index) for answer in audit.differing]
        step = audit.differing[0].step if audit.differing else 0
        self._note(
            f"forged_{name}",
            {"interval": interval, "found": found, "first_step": step},
            f"forged a run with {what} in interval {interval}: the audit found exactly that interval, from step {step}",
            right=found == [("interval", interval)] and audit.is_complete,
        )
        (self.folder / f"{name}.assay.json").write_bytes(certify(audit, read_or_create_seed("auditor")))

    # -- verify -------------------------------------------------------------------------------------------------------

    def _verify_offline(self) -> None:
        for name in ("digits", "text"):
            self._verify(name, f"{name}.assay.json", f"{name}.safetensors", 0, "holds")
        self._verify("forgery", "poisoned.assay.json", None, 1, "refuted: an interval differs")
        model = bytearray((self.folder / "digits.safetensors").read_bytes())
        model[-1] ^= 1
        (self.folder / "tampered.safetensors").write_bytes(model)
        self._verify(
            "tampered", "digits.assay.json", "tampered.safetensors", 1, "refuted: one bit of the model flipped"
        )
        self._verify(
            "stranger", "digits.assay.json", "digits.safetensors", 3, "nothing proven: signer unknown", trust=False
        )

    def _verify(
        self, name: str, certificate: str, model: str | None, expected: int, sentence: str, *, trust: bool = True
    ) -> None:
        words = ["verify", str(self.folder / certificate), *([str(self.folder / model)] if model else [])]
        words += ["--trust", read_public_key("auditor").hex()] if trust else []
        code = verify_isolated(words)
        self._note(
            f"verify_{name}",
            {"exit": code, "expected": expected},
            f"verified {certificate}{f' with {model}' if model else ''}, without torch and network: {sentence} "
            f"(exit {code})",
            right=code == expected,
        )
