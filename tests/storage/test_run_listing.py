"""Finding runs, and measuring them."""

import pytest

from assay.storage.run_directory import RunDirectory
from assay.storage.run_listing import NotAFolder, find_runs, measure_disk


def test_runs_are_found_and_links_are_not_followed(tmp_path):
    """Runs at any of a few depths, sorted; nothing inside a run, behind a link or too deep."""
    for name in ("b", "a/deep", "1/2/3/4/5"):
        RunDirectory.create(tmp_path / "runs" / name).close()
    (tmp_path / "runs" / "b" / "data" / "inner").mkdir()
    (tmp_path / "elsewhere").mkdir()
    RunDirectory.create(tmp_path / "elsewhere" / "run").close()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    found = find_runs(tmp_path / "runs")
    assert found == [tmp_path / "runs" / "a" / "deep", tmp_path / "runs" / "b"]
    assert find_runs(found[0]) == [found[0]]


def test_what_is_no_folder_is_refused(tmp_path):
    """A file and a missing path hold no runs."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(NotAFolder):
            find_runs(path)


def test_sizes_are_summed_by_part(tmp_path):
    """Every byte is counted once, under the file or folder at the top of the run."""
    RunDirectory.create(tmp_path / "run").close()
    (tmp_path / "run" / "packs" / "x").write_bytes(bytes(700))
    (tmp_path / "run" / "packs" / "y").write_bytes(bytes(300))
    sizes = measure_disk(tmp_path / "run")
    assert sizes["packs/"] == 1000
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert sum(sizes.values()) == sum(path.stat().st_size for path in files)
