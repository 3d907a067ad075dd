"""Options in effect: what an engine made of the options that it was given, and what it chose by itself.

All engines use the same names for the same options (:data:`KNOWN`), so a run of one can be held against a
run of another. An option of one engine alone keeps that engine's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.masking import masked_tree
from pytest_dsr1.secret_names import names_secret
from pytest_dsr1.text import writable

KNOWN: Mapping[str, bool] = {
    "version": False,
    "quantization": True,
    "dtype": True,
    "kv_cache_dtype": True,
    "attention_backend": True,
    "moe_backend": True,
    "tp": True,
    "pp": True,
    "dp": True,
    "ep": True,
    "attention_dp": True,
    "max_batch_size": True,
    "max_num_tokens": True,
    "max_seq_len": False,
    "cuda_graphs": True,
    "cuda_graph_padding": True,
    "cuda_graph_max_batch_size": True,
    "cuda_graph_batch_sizes": False,
    "overlap_scheduler": True,
    "draft_tokens": True,
    "chunked_prefill": True,
    "block_reuse": True,
    "gpu_memory_fraction": False,
    "kv_cache_blocks": False,
    "kv_cache_tokens": False,
    "kv_cache_gib": False,
}
"""The names that engines share, in the order in which they are shown, and whether an option changes what is
measured. ``tp``, ``pp``, ``dp`` and ``ep`` are the parallel sizes, ``draft_tokens`` is the draft length.
``cuda_graph_batch_sizes`` does not count: engines leave out sizes that cannot occur."""

PREFIX = "in_effect."
"""Begins the name of each fact of a fingerprint about an option in effect."""

_OPEN = {"AUTO", "NONE"}
"""Asked for, the engine chooses by itself, so any value in effect is right. In effect, it says nothing."""
_EIGHT_BITS = ("fp8_e4m3", "fp8_ds_mla")
"""Names of an FP8 cache that a server writes for ``fp8``, or takes for it."""


_FROM_MEMORY = {"kv_cache_blocks", "kv_cache_tokens", "kv_cache_gib"}
_MEMORY_PERCENT = 5
"""What an engine makes of the memory that is left differs by less than this between starts. So little less
cannot slow a run that did not fill the cache."""


class _NotAsked(Enum):
    NOT_ASKED = "not asked"


NOT_ASKED = _NotAsked.NOT_ASKED
"""Stands for the value of an option that the engine was not given."""


class _NotRead(Enum):
    NOT_READ = "not read"


NOT_READ = _NotRead.NOT_READ
"""Stands for the value in effect of an option of which the engine does not say it."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an engine that has started.

    Attributes:
        name: its name in :data:`KNOWN`, or else the engine's own, with dots for nested options.
        in_effect: the value that the engine has, as a JSON value.
        read_from: where that was read, such as ``server.log``.
        asked: the value that was given, as a JSON value; :data:`NOT_ASKED` if the engine chose by itself.
    """

    name: str
    in_effect: object
    read_from: str
    asked: object = NOT_ASKED

    @property
    def is_read(self) -> bool:
        """Whether the engine says the value."""
        return self.in_effect is not NOT_READ and str(self.in_effect).upper() not in _OPEN

    @property
    def is_free(self) -> bool:
        """Whether the engine chooses the value by itself."""
        return self.asked is NOT_ASKED or str(self.asked).upper() in _OPEN

    @property
    def differs(self) -> bool:
        """Whether another value was asked for; not if the engine was asked to choose, or does not say it."""
        if self.is_free or self.in_effect is NOT_READ:
            return False
        return _comparable(self.name, self.asked) != _comparable(self.name, self.in_effect)

    @property
    def changes_the_measurement(self) -> bool:
        """Whether the option changes what is measured."""
        return KNOWN.get(self.name, False)

    @property
    def sentence(self) -> str:
        """The difference in words."""
        return f"{self.name} was {shown(self.in_effect)} instead of {shown(self.asked)} ({self.read_from})"


def shown(value: object) -> str:
    """Return a value as text: ``on`` and ``off`` for a switch, ``none`` for nothing."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(shown, value))
    return str(value)


def with_asked(in_effect: Iterable[Option], asked: Mapping[str, object]) -> Iterator[Option]:
    """Yield each option with the value that was asked for; the first place that says a value counts.

    Options that were asked for and not read come last.
    """
    seen = set()
    for option in in_effect:
        if option.name not in seen and option.is_read:
            seen.add(option.name)
            given = asked.get(option.name, NOT_ASKED)
            yield Option(option.name, option.in_effect, option.read_from, given)
    for name, given in asked.items():
        if name not in seen:
            yield Option(name, NOT_READ, "", given)


def saved(options: Iterable[Option]) -> dict[str, dict[str, object]]:
    """Return options as JSON values by name, without secrets; what was not asked for has no key ``asked``.

    An option of which the engine does not say the value was not read. It is left out, or has the key
    ``asked`` alone if it was asked for and changes what is measured.
    """
    return {
        option.name: _saved(option)
        for option in options
        if option.is_read or (option.changes_the_measurement and not option.is_free)
    }


def _saved(option: Option) -> dict[str, object]:
    secret = next(filter(names_secret, option.name.split(".")), "")
    values = {"in_effect": option.in_effect} if option.is_read else {}
    if option.asked is not NOT_ASKED:
        values["asked"] = option.asked
    texts = {key: writable(value) if isinstance(value, str) else value for key, value in values.items()}
    masked = {key: masked_tree(value, name=secret) for key, value in texts.items()}
    return {**masked, **({"read_from": option.read_from} if option.is_read else {})}


def of_saved(options: Mapping[str, object]) -> Iterator[Option]:
    """Yield the options of :func:`saved` that were read; what has another form is left out."""
    for name, values in options.items():
        if isinstance(values, Mapping) and "in_effect" in values:
            asked = values.get("asked", NOT_ASKED)
            yield Option(name, values["in_effect"], str(values.get("read_from", "")), asked)


def not_read(options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of the options of :func:`saved` that were asked for and not read."""
    return tuple(
        name
        for name, values in options.items()
        if isinstance(values, Mapping) and "asked" in values and "in_effect" not in values
    )


def facts(options: Mapping[str, object]) -> dict[str, FactValue]:
    """Return saved options as facts, for comparing runs; the version is among those of the engine."""
    return {
        f"{PREFIX}{option.name}": _fact(option.in_effect)
        for option in of_saved(options)
        if option.name != "version"
    }


def _fact(value: object) -> FactValue:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [shown(each) for each in value]
    return value if isinstance(value, int | float) else shown(value)


def alike(fact: str, old: FactValue, new: FactValue) -> bool:
    """Return whether two values of a fact of :func:`facts` mean the same."""
    name = fact.removeprefix(PREFIX)
    values = _comparable(name, old), _comparable(name, new)
    numbers = [value for value in values if isinstance(value, int | float)]
    if follows_from_memory(fact) and len(numbers) == len(values):
        return 100 * (max(numbers) - min(numbers)) <= _MEMORY_PERCENT * max(numbers)
    return values[0] == values[1]


def follows_from_memory(fact: str) -> bool:
    """Return whether a fact of :func:`facts` follows from the memory that an engine found."""
    return fact.removeprefix(PREFIX) in _FROM_MEMORY


def can_matter(fact: str) -> bool:
    """Return whether a fact of :func:`facts` can change a figure; one of an engine's own options may."""
    return follows_from_memory(fact) or KNOWN.get(fact.removeprefix(PREFIX), True)


def differing(options: Mapping[str, object], *, matter: bool) -> list[str]:
    """Return a sentence for each saved option that differs, of those that change what is measured or not."""
    return [
        option.sentence
        for option in of_saved(options)
        if option.differs and option.changes_the_measurement == matter
    ]


def _comparable(name: str, value: object) -> object:
    """Return a value in a form in which equal settings are equal: engines change case, types and order."""
    if isinstance(value, list):
        return sorted((_comparable(name, each) for each in value), key=str)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int | float):
        return value
    text = str(value).lower()
    return "fp8" if name == "kv_cache_dtype" and text in _EIGHT_BITS else text
