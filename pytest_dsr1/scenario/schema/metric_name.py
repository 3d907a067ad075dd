"""Names of metrics in a scenario, from the catalogue that plugins extend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pytest_dsr1.metrics.catalogue import found_by_search, gateable, targetable
from pytest_dsr1.storage.documents import FIND_PLUGIN, UNKNOWN_METRIC


@dataclass(frozen=True, slots=True)
class _OneOf:
    """A choice of names that are looked up when a scenario is read, not when this module is imported."""

    names: Callable[[], tuple[str, ...]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names())}

    def _check(self, name: str) -> str:
        if name not in self.names():
            raise PydanticCustomError(
                UNKNOWN_METRIC,
                f"there is no metric {{name}} here; {FIND_PLUGIN}",
                {"name": name},
            )
        return name


MetricName = Annotated[str, _OneOf(targetable)]
GatedMetricName = Annotated[str, _OneOf(lambda: (*found_by_search(), *gateable()))]
