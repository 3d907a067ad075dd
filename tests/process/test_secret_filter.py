from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.process.secret_filter import SecretFilter

SECRETS = {"planted-token": "${HF_TOKEN}", 'pla"nted/word': "${DB_PASSWD}"}


def filtered(*pieces: bytes) -> bytes:
    secrets = SecretFilter(SECRETS)
    return b"".join([*map(secrets.feed, pieces), secrets.end()])


@given(st.lists(st.integers(0, 60), max_size=5))
def test_a_secret_in_pieces_is_replaced(cuts: list[int]) -> None:
    text = b"a planted-token, p planted planted-token; pla\xff planted-toke"
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    assert filtered(*pieces) == b"a ${HF_TOKEN}, p planted ${HF_TOKEN}; pla\xff planted-toke"


def test_other_forms_of_a_secret_are_replaced() -> None:
    text = b'raw pla"nted/word, json pla\\"nted/word, address pla%22nted%2Fword'
    assert filtered(text) == b"raw ${DB_PASSWD}, json ${DB_PASSWD}, address ${DB_PASSWD}"


def test_nothing_is_held_back_that_cannot_be_a_secret() -> None:
    secrets = SecretFilter(SECRETS)
    assert secrets.feed(b"50% done, p") == b"50% done, "
    assert secrets.feed(b"lease\n") == b"please\n"
    assert SecretFilter({"k\udce9y-token": "${X}"}).feed(b"k\xe9y-token") == b"${X}"
    assert SecretFilter({}).feed(b"planted-token") == b"planted-token"
