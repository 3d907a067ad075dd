"""Values of requests and answers."""

from __future__ import annotations

import json

from pytest_dsr1.records import Answer


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    """JSON of a server may have them, and no file can hold them."""
    answer = Answer("a/0", text=json.loads('"x\\ud800y"'))
    assert answer.text == "x?y"
    assert answer.text.encode()
    assert Answer("a/0").text is None
