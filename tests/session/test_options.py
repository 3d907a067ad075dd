"""What the options say: the folder of references, the site, and the command that repeats them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pytest_dsr1.scenario.schema.site import Site, Slurm
from pytest_dsr1.session.options import command, site, store


def test_the_option_comes_before_the_ini_file(pytester: pytest.Pytester) -> None:
    root = pytester.path
    assert store(pytester.parseconfig()) == root / "dsr1-references"
    pytester.makeini("[pytest]\ndsr1_store = shared/references\n")
    assert store(pytester.parseconfig()) == root / "shared" / "references"
    assert store(pytester.parseconfig("--dsr1-store=here")) == root / "here"
    assert store(pytester.parseconfig("--dsr1-store=/srv/here")) == Path("/srv/here")


@pytest.mark.parametrize("name", ["", " ", "\t "])
def test_an_empty_name_is_refused(pytester: pytest.Pytester, name: str) -> None:
    with pytest.raises(pytest.UsageError) as caught:
        store(pytester.parseconfig(f"--dsr1-store={name}"))
    assert str(caught.value) == "--dsr1-store is empty: expected the folder of references"


def test_two_folders_are_refused(pytester: pytest.Pytester) -> None:
    path = pytester.makeini("[pytest]\ndsr1_store = my references\n")
    with pytest.raises(pytest.UsageError) as caught:
        store(pytester.parseconfig())
    expected = f"dsr1_store in {path}: expected one folder without spaces, found 2 folders"
    assert str(caught.value) == expected


def test_the_site_is_that_of_the_option_then_that_of_the_variable(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own", "shared"):
        (pytester.path / f"{name}.yaml").write_text(f"slurm: {{mpi: {name}}}", encoding="utf-8")
    monkeypatch.delenv("DSR1_SITE", raising=False)
    assert site(pytester.parseconfig()) == Site()
    monkeypatch.setenv("DSR1_SITE", "shared.yaml")
    assert site(pytester.parseconfig()) == Site(slurm=Slurm(mpi="shared"))
    assert site(pytester.parseconfig("--dsr1-site=own.yaml")) == Site(slurm=Slurm(mpi="own"))


def test_a_command_repeats_what_changes_scenarios(pytester: pytest.Pytester) -> None:
    given = [
        "--dsr1-suites=my suites",
        "--dsr1-sweep=load.concurrency=1,2",
        "--dsr1-set=load.num_requests=8",
        "--dsr1-against=engine.threads=2",
    ]
    secret = "--dsr1-set=engine.environment.HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz"
    found = command(pytester.parseconfig(*given, secret), "peak", "-k", "search")
    shown = "--dsr1-set=engine.environment.HF_TOKEN=${HF_TOKEN}"
    assert shlex.split(found) == [
        "pytest",
        "--dsr1-profile=peak",
        "-k",
        "search",
        *given[:3],
        shown,
        given[3],
    ]
    assert command(pytester.parseconfig(), "peak") == "pytest --dsr1-profile=peak"


def test_the_help_names_all_that_can_go_on(pytester: pytest.Pytester) -> None:
    text = " ".join(pytester.runpytest("--help").stdout.str().split())
    assert "go on with the newest sweep, search or pairs of each scenario where they stopped" in text
