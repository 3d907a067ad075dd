"""What the name of a result, a profile or a folder means."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.finding import find, find_all
from tests.helpers.saved_results import save, save_unfinished


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(".dsr1")


def test_a_profile_is_its_newest_result_or_all_of_them(root: Path) -> None:
    first, second = save(root), save(root, 1)
    running = save_unfinished(root, 2)
    assert find("small", root) == [second]
    assert find_all("small", root) == [first, second, running]
    assert find_all("sm*", root) == [first, second, running]


def test_a_folder_means_all_results_in_it(root: Path) -> None:
    first, other, of_job = save(root), save(root, name="other"), save(root / "slurm-7")
    (root / "small" / "notes").mkdir()
    (root / "small" / "search-1.json").write_text("{}", encoding="utf-8")
    assert find_all(str(first), root) == [first]
    assert find_all(".dsr1/small", root) == [first]
    assert find_all(".dsr1", root) == [other, of_job, first]
    assert find_all(".dsr1/*l", root) == [first]


def test_a_folder_comes_before_a_profile_of_that_name(root: Path) -> None:
    save(root)
    moved = save(root, 1).rename("small")
    assert find_all("small", root) == [moved]


def test_a_link_to_a_folder_is_followed(root: Path) -> None:
    run = save(Path("disk"))
    root.mkdir()
    (root / "small").symlink_to(run.parent.absolute())
    assert find_all(".dsr1", root) == [root / "small" / run.name]


def test_the_files_of_an_engine_are_not_results(root: Path) -> None:
    run = save(root)
    (run / "engine" / "measurement.json").write_text("{}", encoding="utf-8")
    assert find_all(".dsr1", root) == [run]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: is neither a folder nor a profile with results in .dsr1"),
        ("*.nothing", "*.nothing: is neither a folder nor a profile with results in .dsr1"),
        (
            "empty",
            "empty: contains no result; a run of pytest --dsr1-profile=NAME saves one in "
            "DIR/<profile>/<UTC time>, and --dsr1-results=DIR names the folder",
        ),
    ],
)
def test_a_name_without_results(root: Path, name: str, message: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError) as caught:
        find_all(name, root)
    assert str(caught.value) == message
