"""Finding scenarios and choosing them by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario import profiles
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.profiles import Catalogue, discover, named, shipped_suites


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def own(catalogue: Catalogue) -> list[str]:
    return [profile.name for profile in catalogue.own]


def test_names_and_globs_choose_in_the_order_asked(tmp_path: Path) -> None:
    catalogue = discover([])
    suites = shipped_suites()
    assert catalogue.select("h200-m??-*,cpu-min-latency") == [
        suites / "h200" / "max-throughput.yaml",
        suites / "h200" / "min-latency.yaml",
        suites / "cpu" / "min-latency.yaml",
    ]
    assert catalogue.select(" cpu-min-latency , cpu-* ,") == [
        suites / "cpu" / "min-latency.yaml",
        suites / "cpu" / "max-throughput.yaml",
    ]
    assert len(catalogue.select("*")) == 62


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "h200-max-troughput",
            "no scenario is named 'h200-max-troughput' (did you mean 'h200-max-throughput' or "
            "'b200-max-throughput' or 'slice-h200-max-throughput'?)",
        ),
        ("z?z-*", "no scenario matches 'z?z-*'"),
        ("qwertz", "no scenario is named 'qwertz'"),
        ("cpu-min-latency,qwertz,zuiop", "no scenario is named 'qwertz'\nno scenario is named 'zuiop'"),
        (" , ", "--dsr1-profile names no scenario"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(expression: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        discover([]).select(expression)
    assert str(caught.value) == f"{message}\n`pytest --dsr1-list` lists the scenarios."


def test_own_scenarios_come_first_and_hide_shipped_ones(tmp_path: Path) -> None:
    mine = write(tmp_path, "x.yaml", "name: cpu-min-latency\n")
    catalogue = discover([tmp_path])
    assert catalogue.names[0] == "cpu-min-latency"
    assert catalogue.names.count("cpu-min-latency") == 1
    assert catalogue.select("cpu-min-latency") == [mine]
    assert catalogue.find("cpu-min-latency") == mine
    assert catalogue.find("cpu-min-latency", other_than=mine) == shipped_suites() / "cpu" / "min-latency.yaml"
    assert catalogue.find("nothing") is None


def test_the_same_name_twice_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "one/a.yaml", "name: same\n")
    write(tmp_path, "two/b.yml", 'name: "same"  # again\n')
    with pytest.raises(UserError) as caught:
        discover([Path("one"), Path("two")])
    assert str(caught.value) == (
        "two scenarios are named 'same': one/a.yaml and two/b.yml; change the `name:` of one"
    )


def test_a_folder_given_twice_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "name: same\n")
    assert own(discover([tmp_path, tmp_path / "..", tmp_path][::2])) == ["same"]


def test_a_broken_file_breaks_no_other_and_tells_its_mistakes_when_chosen(tmp_path: Path) -> None:
    write(tmp_path, "deep/broken.yaml", "{ no: yaml\n")
    write(tmp_path, "deep/named.yaml", "name: named\nbroken: [\n")
    write(tmp_path, "binary.yaml", "").write_bytes(b"\xff\xfe\x00")
    write(tmp_path, ".hidden/x.yaml", "name: hidden\n")
    write(tmp_path, "notes.txt", "name: notes\n")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path)
    catalogue = discover([tmp_path])
    assert own(catalogue) == ["binary", "deep-broken", "named"]
    assert len(catalogue.select("cpu-*")) == 2
    (path,) = catalogue.select("deep-broken")
    with pytest.raises(UserError, match="1 mistake"):
        load(path, catalogue=catalogue)


def test_an_unreadable_file_keeps_the_name_of_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.yaml", "name: x\n")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert own(discover([tmp_path])) == ["a"]


def test_a_folder_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a.yaml", "name: x\n")
    end = "; check --dsr1-suites and the ini option dsr1_suites"
    with pytest.raises(UserError) as caught:
        discover([Path("gone")])
    assert str(caught.value) == f"gone: there is no such folder{end}"
    with pytest.raises(UserError) as caught:
        discover([Path("a.yaml")])
    assert str(caught.value) == (
        f"a.yaml: is a file; expected a folder (run a single scenario with: pytest FILE){end}"
    )


def test_shipped_suites_are_those_of_the_wheel_or_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (shipped_suites() / "cpu" / "min-latency.yaml").is_file()
    module = tmp_path / "pytest_dsr1" / "scenario" / "profiles.py"
    monkeypatch.setattr(profiles, "__file__", str(module))
    assert shipped_suites() == tmp_path / "suites"
    (tmp_path / "pytest_dsr1" / "suites").mkdir(parents=True)
    assert shipped_suites() == tmp_path / "pytest_dsr1" / "suites"


def test_points_of_a_sweep_are_chosen_by_name(tmp_path: Path) -> None:
    """A name with a dot may be a scenario's own; else it is a point of the sweep with the longest name."""
    for name in ("a", "a.b", "c"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n", encoding="utf-8")
    known = discover([tmp_path])
    assert known.points("a,a.b,c,a.*,nothing") == {}
    assert known.points("a.x, a.b.tp-8, c.tp-*") == {
        tmp_path / "a.yaml": ["a.x"],
        tmp_path / "a.b.yaml": ["a.b.tp-8"],
        tmp_path / "c.yaml": ["c.tp-*"],
    }
    assert known.select("c.tp-*,a.b.tp-8") == [tmp_path / "c.yaml", tmp_path / "a.b.yaml"]


def test_names_and_globs_choose_points() -> None:
    names = ["c.tp-4", "c.tp-8", "c.pp-2"]
    assert named(names, ["c.tp-*"]) == {"c.tp-4", "c.tp-8"}
    assert named(names, ["c.pp-2", "c.tp-8"]) == {"c.pp-2", "c.tp-8"}
    with pytest.raises(UserError) as caught:
        named(names, ["c.pp-2", "c.tp-9"])
    assert str(caught.value) == (
        "no scenario is named 'c.tp-9' (did you mean 'c.tp-8' or 'c.tp-4' or 'c.pp-2'?)\n"
        "`pytest --dsr1-list` lists the scenarios."
    )
