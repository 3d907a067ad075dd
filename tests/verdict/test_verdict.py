"""Exit statuses and their precedence."""

import pytest

from pytest_dsr1.verdict.verdict import Word, exit_status


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([Word.PASS], None),
        ([], None),
        ([Word.PASS, Word.FAIL, Word.INVALID], 1),
        ([Word.INVALID, Word.NO_REFERENCE, Word.INCONCLUSIVE], 10),
        ([Word.INCONCLUSIVE, Word.NOT_COMPARABLE], 11),
        ([Word.NO_REFERENCE], 11),
        ([Word.INCONCLUSIVE, Word.PASS], 12),
    ],
)
def test_the_most_important_word_decides(words: list[Word], status: int | None) -> None:
    assert exit_status(words) == status
