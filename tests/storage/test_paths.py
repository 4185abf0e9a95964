import pytest

from assay.storage.paths import HomeUnknown, get_home


def test_assay_home_wins(monkeypatch, tmp_path):
    """ASSAY_HOME is taken as it is, whatever XDG says."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert get_home() == tmp_path


def test_xdg_data_home_comes_second(monkeypatch, tmp_path):
    """Without ASSAY_HOME the folder lies in XDG_DATA_HOME."""
    monkeypatch.delenv("ASSAY_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert get_home() == tmp_path / "assay"


@pytest.mark.parametrize("shared", ["", "relative/path"])
def test_the_default_lies_in_the_home_directory(monkeypatch, tmp_path, shared):
    """An empty or relative XDG_DATA_HOME is ignored."""
    monkeypatch.setenv("ASSAY_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", shared)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_home() == tmp_path / ".local" / "share" / "assay"


def test_a_relative_assay_home_is_refused(monkeypatch):
    """A folder that moves with the working directory is no home."""
    monkeypatch.setenv("ASSAY_HOME", "keys")
    with pytest.raises(HomeUnknown) as caught:
        get_home()
    assert caught.value.code == "storage.home"
    assert caught.value.actual == "keys"
