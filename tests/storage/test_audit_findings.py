"""What an unfinished audit keeps: in the auditor's home, by one process at a time, until it is complete."""

import stat

import pytest

from assay.storage.audit_findings import AuditFindings, AuditUnderWay
from assay.storage.files import UnsafePath


def test_findings_survive_until_they_are_forgotten(home):
    """What was appended is there when the audit goes on; it lies in the home, readable by its owner alone."""
    with AuditFindings("mine") as findings:
        assert list(findings.iterate()) == []
        findings.append({"index": 1})
    with AuditFindings("mine") as findings:
        findings.append({"index": 2})
        assert list(findings.iterate()) == [{"index": 1}, {"index": 2}]
        assert stat.S_IMODE((home / "audits").stat().st_mode) == 0o700
        findings.forget()
        findings.forget()
    with AuditFindings("mine") as findings:
        assert list(findings.iterate()) == []


def test_one_holder_at_a_time(home):
    """A second holder is refused until the first lets go; another audit is free."""
    with AuditFindings("mine"):
        with pytest.raises(AuditUnderWay):
            AuditFindings("mine")
        AuditFindings("other").close()
    AuditFindings("mine").close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x" * 101, "a b"])
def test_a_name_cannot_leave_the_folder(name):
    """Letters, digits, underscores and hyphens, not too many."""
    with pytest.raises(UnsafePath):
        AuditFindings(name)
