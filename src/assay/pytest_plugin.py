"""A pytest plugin: the fixture `assert_reproducible`, and `--assay-update-locks`.

```python
def test_training_is_reproducible(assert_reproducible):
    assert_reproducible(train)                       # train(folder) records a run: it is called twice
    assert_reproducible(train, lock="tests/train.lock")   # and must give what the committed lock holds
    assert_reproducible("runs/digits")               # a recorded run: every interval is recomputed
```

Pytest loads this file whenever Assay is installed, so it imports nothing of Assay until a test asks for the fixture.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[[Path], object] | str | os.PathLike[str]
_UPDATE = "--assay-update-locks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes locks instead of comparing with them."""
    group = parser.getgroup("assay", "reproducible training")
    group.addoption(_UPDATE, action="store_true", help="write the locks of assert_reproducible instead of comparing")


@pytest.fixture
def assert_reproducible(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that fails the test unless training gives the same bits again.

    It takes a function that records a run in the folder that it is given, which is then called twice, and, as `lock`, a
    file that the run must agree with; or the folder of a finished run, which is recomputed.
    """
    count = 0

    def check(run: Run, *, lock: str | os.PathLike[str] | None = None) -> None:
        nonlocal count
        count += 1
        _check(run, lock, tmp_path / f"assay-{count}", update=bool(request.config.getoption(_UPDATE)))

    return check


def _check(run: Run, lock: str | os.PathLike[str] | None, folder: Path, *, update: bool) -> None:
    __tracebackhide__ = True
    from assay.errors import Refuted
    from assay.verification import reproducible

    try:
        if callable(run):
            recorded: Path = reproducible.verify_twice(run, folder)
        else:
            recorded = Path(run)
            reproducible.verify_recomputed(recorded)
        if lock is None:
            return
        path = Path(lock)
        if update:
            reproducible.write_lock(recorded, path)
        else:
            reproducible.verify_lock(recorded, path, folder / "lock" if callable(run) else folder)
    except Refuted as error:
        pytest.fail(str(error), pytrace=False)
