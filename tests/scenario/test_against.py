"""What ``--dsr1-against`` names: changes, a file of changes, or another profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.against import read_against
from pytest_dsr1.scenario.profiles import discover
from tests.helpers import values

SHIPPED = discover([])


def test_changes_of_texts_and_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "new.yml").write_text("engine.tp: 4\nengine.environment:\n  A: b\n", encoding="utf-8")
    found = read_against(["engine.tp=2", "new.yml", "engine.command=[x, y]"], SHIPPED, tmp_path)
    assert found.profile is None
    assert [(each.path, each.value.plain()) for each in found.changes] == [
        (("engine", "tp"), 2),
        (("engine", "tp"), 4),
        (("engine", "environment"), {"A": "b"}),
        (("engine", "command"), ["x", "y"]),
    ]
    assert str(found.changes[0].value.mark) == "--dsr1-against engine.tp=2"
    assert str(found.changes[1].value.mark).endswith("new.yml:1:12")
    assert found.changes_for(values.scenario()) == found.changes


def test_another_profile_measures_what_the_old_side_measures(tmp_path: Path) -> None:
    found = read_against(["cpu-min-latency", "engine.threads=2"], SHIPPED, tmp_path)
    assert found.profile == SHIPPED.find("cpu-min-latency")
    threads, metric = found.changes_for(values.scenario(gate={"metric": "average_ttft"}))
    assert threads.path == ("engine", "threads")
    assert (metric.path, metric.value.plain()) == (("gate", "metric"), "average_ttft")
    assert found.changes_for(values.scenario(targets=[])) == (threads,)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (
            ["cpu-min-latencie", "engine.=1"],
            [
                "--dsr1-against cpu-min-latencie: no scenario is named 'cpu-min-latencie' (did you mean",
                "--dsr1-against engine.=1: expected KEY=VALUE with a dotted key",
            ],
        ),
        (["name=x"], ["--dsr1-against name=x: name: cannot be set for a run"]),
        (["gone.yaml"], ["--dsr1-against: gone.yaml: there is no such file"]),
        (["empty.yaml"], ["--dsr1-against: empty.yaml: is empty; expected a set of overrides"]),
        (["dir.yaml"], ["dir.yaml: is a folder; expected a set of overrides file"]),
        (
            ["bad.yaml"],
            [
                "--dsr1-against: bad.yaml: 2 mistakes in this set of overrides",
                "bad.yaml:1:1: extends: cannot be set for a run",
                "bad.yaml:2:1: load.: expected a dotted key",
            ],
        ),
        (
            ["twice.yaml"],
            [
                "twice.yaml:2:1: the key 'load' appears a second time",
                "twice.yaml: 1 mistake in this set of overrides",
            ],
        ),
    ],
)
def test_mistakes_are_told_together(tmp_path: Path, texts: list[str], wanted: list[str]) -> None:
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    (tmp_path / "dir.yaml").mkdir()
    (tmp_path / "bad.yaml").write_text("extends: x\nload.: 1\n", encoding="utf-8")
    (tmp_path / "twice.yaml").write_text("load: 1\nload: 2\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_against(texts, SHIPPED, tmp_path)
    said = str(caught.value).replace(f"{tmp_path}/", "")
    assert [each for each in wanted if each not in said] == [], said
