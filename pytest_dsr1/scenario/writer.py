"""The YAML writer: the reader makes the same scenario from its output."""

from __future__ import annotations

from typing import Any

import yaml

from pytest_dsr1.scenario.schema.base import Part
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.yaml.reader import plain_scalar


class _Dumper(yaml.SafeDumper):
    """A dumper that also quotes unusual line ends, and text such as ``1e5``, a number only in YAML 1.2."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    safe = text.isprintable() and isinstance(plain_scalar(text), str)
    style = None if safe else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(scenario: Scenario) -> str:
    """Return the scenario as a YAML file, without the keys that have no value."""
    return dump_tree(_plain(scenario))


def dump_tree(tree: dict[str, Any]) -> str:
    """Return a scenario's plain values as a YAML file."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return {key: _plain(item) for key, item in value if item is not None}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
