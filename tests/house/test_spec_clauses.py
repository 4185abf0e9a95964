"""Each clause of the specification is checked somewhere, and each check is tested. ABC-8.1 is a part of ABC-8."""

import re

import pytest

from tests.house import rules

CLAUSE = re.compile(r"\*\*([A-Z]{3}-\d+)\*\*")
CITED = re.compile(r"\b[A-Z]{3}-\d+\b")
RANGE = re.compile(r"\b([A-Z]{3})-(\d+) to \1-(\d+)\b")
CHAPTERS = sorted((rules.ROOT / "spec").glob("*.md"))


def get_clauses(chapter):
    """Return the ids of a chapter's clauses in order."""
    return CLAUSE.findall(chapter.read_text(encoding="utf-8"))


def find_cited(text):
    """Return the ids that a text cites; `ABC-2 to ABC-4` cites three."""
    spans = (
        f"{name}-{number}" for name, first, last in RANGE.findall(text) for number in range(int(first), int(last) + 1)
    )
    return {*CITED.findall(text), *spans}


def read_cited(folder):
    """Return the ids that the Python files of a folder cite."""
    return {
        clause
        for path in rules.get_files(rules.ROOT / folder)
        for clause in find_cited(path.read_text(encoding="utf-8"))
    }


IN_SOURCE, IN_TESTS = read_cited("src"), read_cited("tests")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_clauses_are_numbered(chapter):
    """A chapter has clauses; all have the chapter's own letters, and their numbers go up from 1 without a gap."""
    clauses = get_clauses(chapter)
    assert clauses
    assert len({clause.split("-")[0] for clause in clauses}) == 1
    numbers = [int(clause.split("-")[1]) for clause in clauses]
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_two_chapters_share_letters():
    """The letters of a clause say which chapter it is in."""
    letters = [get_clauses(chapter)[0].split("-")[0] for chapter in CHAPTERS]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_each_clause_is_checked(chapter):
    """Each clause is cited by the code that carries it out."""
    assert [clause for clause in get_clauses(chapter) if clause not in IN_SOURCE] == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_each_clause_is_tested(chapter):
    """Each clause is cited by a test."""
    assert [clause for clause in get_clauses(chapter) if clause not in IN_TESTS] == []


def test_cited_clauses_exist():
    """No code and no test cites a clause that is not in the specification."""
    clauses = {clause for chapter in CHAPTERS for clause in get_clauses(chapter)}
    letters = {clause.split("-")[0] for clause in clauses}
    cited = {clause for clause in IN_SOURCE | IN_TESTS if clause.split("-")[0] in letters}
    assert cited - clauses == set()


def test_ranges_are_read():
    """A range cites all of its clauses, and a word with a number that is no clause cites nothing of ours."""
    assert find_cited("(XYZ-2 to XYZ-4), XYZ-9.") == {"XYZ-2", "XYZ-3", "XYZ-4", "XYZ-9"}
    assert find_cited("SHA-256") == {"SHA-256"}
