from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.imports import harvested, harvested_text
from tests.helpers.unlistable import unlistable

SMALL = """\
server_configs:
  - name: {name}
    model_name: deepseek_r1_0528_fp8
    client_configs: [{{}}]
"""
KNOWN = (
    "perf-sanity's aggregated and disaggregated files, configs/database of TensorRT-LLM, InferenceX's master "
    "configurations"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1", f"it is not a configuration that is known ({KNOWN})"),
        ("- a", f"it is not a configuration that is known ({KNOWN})"),
        (
            "test_cases: []",
            "it is of the older style with `test_cases`, which says only a part of the server's options; "
            "import a file "
            "of perf-sanity/aggregated/ instead",
        ),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    found = harvested_text(tmp_path, text)
    assert [str(refusal) for refusal in found.refusals] == [
        f"{tmp_path}/own_b200.yaml: not imported: {reason}"
    ]
    assert (found.cases, found.problems) == ([], [])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", ": is empty; expected a configuration"),
        ("# nothing", ": contains no value; expected a configuration"),
        ("a: 1\n---\nb: 2", ":2:1: a second document begins here; expected one configuration per file"),
        ("a: 1\na: 2", ":2:1: the key 'a' appears a second time; it is already on line 1"),
    ],
)
def test_a_file_that_is_not_yaml_is_a_mistake(tmp_path: Path, text: str, mistake: str) -> None:
    found = harvested_text(tmp_path, text)
    assert [str(problem) for problem in found.problems] == [f"{tmp_path}/own_b200.yaml{mistake}"]


def test_a_missing_file_and_an_empty_folder_are_mistakes(tmp_path: Path) -> None:
    assert [str(problem) for problem in harvested(tmp_path / "x.yaml").problems] == [
        f"{tmp_path}/x.yaml: there is no such file"
    ]
    assert [str(problem) for problem in harvested(tmp_path).problems] == [
        f"{tmp_path}: the folder has no YAML file"
    ]


def test_a_folder_is_searched_with_its_subfolders(tmp_path: Path) -> None:
    for name in ("b200_x.yaml", "in/b200_y.yml", "in/.hidden/b200_z.yaml", "in/b200.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SMALL.format(name="a"), encoding="utf-8")
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    assert [case.name for case in harvested(tmp_path).cases] == ["b200_x-a", "b200_y-a"]


def test_two_runs_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    for folder, name in (("p", "a"), ("q", "A")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "b200.yaml").write_text(SMALL.format(name=name), encoding="utf-8")
    found = harvested(tmp_path)
    assert [str(problem) for problem in found.problems] == [
        f"{tmp_path}/q/b200.yaml:2:5: the scenario b200-A is also made of {tmp_path}/p/b200.yaml:2; import "
        "one of them "
        "alone"
    ]


def test_a_folder_that_cannot_be_listed_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b200.yaml").write_text(SMALL.format(name="a"), encoding="utf-8")
    (tmp_path / "in").mkdir()
    unlistable(monkeypatch, tmp_path / "in")
    assert [str(problem) for problem in harvested(tmp_path).problems] == [
        f"{tmp_path}/in: cannot be read: Permission denied"
    ]
