"""Where a package is missing, tests that need it are skipped by name, but not where all must be there."""

from __future__ import annotations

import pytest

from tests.helpers.paths import ROOT


@pytest.fixture
def lacking(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Modules that lack a package at import, one as a test runs, and a module of ours."""
    monkeypatch.delenv("TOX_ENV_NAME", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers =\n  needs\n  versions\n")
    pytester.makepyfile(
        test_first="import not_there.deep\ndef test(): pass",
        test_second="def test(): import nor_there",
        test_fourth="import pytest\n@pytest.mark.needs('absent')\ndef test(): raise AssertionError",
        test_third="import tests.not_there",
    )
    return pytester


def test_what_needs_more_is_skipped_by_name(lacking: pytest.Pytester) -> None:
    result = lacking.runpytest_subprocess("-rs", "--continue-on-collection-errors")
    result.assert_outcomes(skipped=3, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            "*No module named 'tests.not_there'",
            "skipped, needs absent: tests in .",
            "skipped, needs nor_there: tests in .",
            "skipped, needs not_there: tests in .",
            "SKIPPED * needs not_there",
            "SKIPPED * needs nor_there",
        ]
    )


def test_where_all_must_be_there_it_is_an_error(
    lacking: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOX_ENV_NAME", "tests")
    result = lacking.runpytest_subprocess("--continue-on-collection-errors")
    result.assert_outcomes(failed=2, errors=2)
