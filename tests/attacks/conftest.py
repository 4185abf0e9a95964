"""No story touches the keys or trusted keys of whoever runs the tests."""

import pytest


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("home")))
