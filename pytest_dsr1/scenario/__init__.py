"""What is measured: the scenario schema, YAML loading, profiles and overrides.

The names below are looked up when they are used: the schema needs pydantic, which a pytest run that selects
no scenario does not pay for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_dsr1.scenario.dumping import dump as dump
    from pytest_dsr1.scenario.loading import LoadedScenario as LoadedScenario
    from pytest_dsr1.scenario.loading import load as load
    from pytest_dsr1.scenario.profiles import Catalogue as Catalogue
    from pytest_dsr1.scenario.profiles import discover as discover
    from pytest_dsr1.scenario.profiles import shipped_suites as shipped_suites
    from pytest_dsr1.scenario.variables import resolve as resolve
    from pytest_dsr1.scenario.variables import unset_variables as unset_variables

_HOMES = {
    "dump": "dumping",
    "LoadedScenario": "loading",
    "load": "loading",
    "Catalogue": "profiles",
    "discover": "profiles",
    "shipped_suites": "profiles",
    "resolve": "variables",
    "unset_variables": "variables",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
