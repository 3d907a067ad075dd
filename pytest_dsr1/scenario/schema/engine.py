"""The engine's part of a scenario: the base class of all engine settings, and the registered engines.

The hook ``pytest_dsr1_engines`` lists the settings and rules of each engine; this package imports no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Union, get_args, get_type_hints

from pydantic import Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

from pytest_dsr1 import extensions
from pytest_dsr1.errors import UserError
from pytest_dsr1.findings import Finding
from pytest_dsr1.scenario.schema.base import Part
from pytest_dsr1.scenario.schema.field_types import no_key
from pytest_dsr1.scenario.schema.rule import Answer, Purpose, Relation

if TYPE_CHECKING:
    from typing_extensions import Self

HOOK = "pytest_dsr1_engines"

ModelSource = Literal["path", "random_weights"]
"""The keys of ``model`` that say where the weights come from."""


@dataclass(frozen=True, slots=True)
class KvCacheLimits:
    """Limits of the KV cache of each GPU.

    Attributes:
        max_tokens: the most tokens in it; None if no option limits them.
        memory_fraction: the largest share of the memory left after the weights.
        max_tokens_setting: the setting with ``max_tokens``, for messages.
    """

    max_tokens: int | None
    memory_fraction: float
    max_tokens_setting: str = ""


class HasEngine(Protocol):
    """The part of a scenario that the settings of its engine need."""

    @property
    def name(self) -> str:
        """The profile's name."""

    @property
    def engine(self) -> EngineSettings:
        """The settings of its engine."""


class EngineSettings(Part):
    """The settings of an engine: the keys of ``engine:`` in a scenario.

    A subclass declares ``type: Literal["name"]`` and a field for each key. Its docstring and those of its
    fields are the documentation. The attributes and methods below are what pytest-dsr1 asks of every engine;
    their defaults suit an engine that does not know the answer.
    """

    type: str
    """The engine."""

    whole_script: ClassVar[str] = ""
    """The script in a run's folder `engine/` that repeats all of it without pytest; empty without one."""
    keeps_schedules: ClassVar[bool] = False
    """Whether it can send requests at given times (`load.arrival`, `load.ramp_s`, `load.duration_s`)."""
    answers_questions: ClassVar[bool] = False
    """Whether it returns the text or the tokens of an answer (`accuracy`)."""
    may_bring_model: ClassVar[bool] = False
    """Whether the engine may get its model from elsewhere, so that a scenario need not name one."""
    former_names: ClassVar[Mapping[str, str]] = {}
    """Keys that scenarios must no longer use, each with its replacement, as the end of a message."""
    unchecked_in: ClassVar[Mapping[str, str]] = {}
    """Mappings of the software's options, each with the key that takes further ones as they are."""
    decided_by: ClassVar[Mapping[Answer, tuple[str, ...]]] = {}
    """The keys that decide an answer below: ``{"slots": ("engine.max_batch_size",)}``."""
    settings_for: ClassVar[Mapping[Purpose, str]] = {}
    """The setting that serves a purpose, for messages: ``{"streaming": "engine.streaming: true"}``."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Let what another plugin's engine overrides name that plugin when it fails or returns nonsense."""
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__module__.startswith("pytest_dsr1."):
            return
        for name, asked in vars(EngineSettings).items():
            own = None if name.startswith("_") else vars(cls).get(name)
            if isinstance(asked, property) and isinstance(own, property) and own.fget:
                setattr(cls, name, property(_named(own.fget)))
            elif isfunction(asked) and isfunction(own):
                setattr(cls, name, _named(own))

    @classmethod
    def of(cls, scenario: HasEngine) -> Self:
        """Return the scenario's engine settings as this class.

        Raises:
            UserError: the scenario uses another engine.
        """
        engine = scenario.engine
        if not isinstance(engine, cls):
            raise UserError(f"{scenario.name}: the engine is {engine.type}, expected {type_of(cls)}")
        return engine

    @property
    def gpus(self) -> int | None:
        """The number of GPUs that it uses; None if only `hardware.count` says so."""
        return None

    @property
    def spans_nodes(self) -> Literal["evenly", "by server"] | None:
        """How Slurm's `srun` spreads its GPUs over several machines; None if it runs on one."""
        return None

    def gpus_by_node(self, count: int, nodes: int) -> tuple[int, ...]:
        """Return how many of ``count`` GPUs it uses on each of its nodes, the first of which runs pytest."""
        return (count // nodes,) * nodes

    @property
    def longest_start_s(self) -> float:
        """The longest time until the measurement begins, in seconds; 0 if it is unknown."""
        return 0.0

    @property
    def ranks(self) -> int:
        """The number of ranks with requests of their own: more than one with attention data parallelism."""
        return 1

    @property
    def slots(self) -> int | None:
        """The most requests that are decoded at the same time; None if unknown or unlimited."""
        return None

    @property
    def slots_reason(self) -> str:
        """The settings that limit the slots, in words."""
        return ""

    @property
    def streams(self) -> bool:
        """Whether the time of each token is seen, so that TTFT and TPOT are measured."""
        return True

    @property
    def uses_chat_template(self) -> bool:
        """Whether each prompt is put into the model's chat template."""
        return False

    @property
    def draft_tokens(self) -> int | None:
        """Draft tokens per request and step; 0 without speculation, None if only a run shows it."""
        return 0

    @property
    def exact_lengths(self) -> bool:
        """Whether every answer certainly has the requested length, even without records to check it."""
        return False

    @property
    def computes_on_cpus(self) -> bool:
        """Whether a scenario without a GPU runs on this machine's CPUs, where other work slows it."""
        return self.attached_url is None

    @property
    def attached_url(self) -> str | None:
        """The address of a server that is already running; None if pytest-dsr1 starts the engine."""
        return None

    @property
    def records_its_versions(self) -> bool:
        """Whether a result has the versions of the software that answers."""
        return True

    @property
    def process_environments(self) -> tuple[Mapping[str, str], ...]:
        """Environment variables of each kind of its processes, in addition to those of pytest."""
        return ({},)

    @property
    def command_words(self) -> tuple[str, ...]:
        """The words of its command that the scenario gives; the content of files that they name is a fact."""
        return ()

    @property
    def measuring_limit_s(self) -> float | None:
        """The longest measured time in seconds; None for the default."""
        return None

    @property
    def model_sources(self) -> tuple[ModelSource, ...]:
        """The keys of ``model`` from which it can take a model."""
        return ("path", "random_weights")

    @property
    def model_doubt(self) -> str | None:
        """The reason to doubt that the scenario's model runs, as a sentence; None if it certainly runs."""
        return None

    @property
    def quantizes_random_weights(self) -> bool:
        """Whether random weights are stored in `model.quantization`; otherwise they are BF16."""
        return False

    @property
    def number_format(self) -> Literal["float32", "bfloat16"] | None:
        """The one format of all weights and of the KV cache; None if the model decides."""
        return None

    @property
    def kv_cache_format(self) -> Literal["auto", "fp8", "bfloat16", "nvfp4"] | None:
        """The requested format of the KV cache; None if no option sets it."""
        return None

    @property
    def kv_cache_limits(self) -> KvCacheLimits | None:
        """Limits of the KV cache of each GPU; None if unknown."""
        return None

    def setting_for(self, purpose: Purpose) -> str | None:
        """Return the setting of this scenario's engine that serves a purpose; None if there is none."""
        return self.settings_for.get(purpose)

    def cannot_force(self, acceptance_length: float) -> str | None:
        """Return why it cannot force this acceptance length, at least 1 token per step; None if it can."""
        del acceptance_length
        return f"the engine `{self.type}` cannot force it"

    def forced_by_hand(self, environ: Mapping[str, str]) -> Iterator[tuple[str, float | None]]:
        """Yield what forces the acceptance length without `speculation`, and the length if it is known.

        Args:
            environ: the environment that its processes inherit; empty to look at the scenario's keys alone.
        """
        del environ
        yield from ()

    def waiting_to_be_read(self, requests: int) -> str | None:
        """Return why requests can wait although there are slots for this many; None if unknown."""
        del requests
        return None

    def chunked_context(self, longest_input: int | None) -> str | None:
        """Return how to switch off chunked context, which splits inputs over steps; None if it is off.

        Args:
            longest_input: of the workload, in tokens; None if unknown.
        """
        del longest_input
        return None

    def without_cuda_graph(self, requests: float) -> str | None:
        """Return why a decode step runs without a CUDA graph, and the remedy; None if it has one.

        Args:
            requests: the number of requests in the engine at once.
        """
        del requests
        return None

    def without_records(self, output_tokens: Callable[[], float]) -> str | None:
        """Return why it will keep no request records, and the setting that changes this; None if it will.

        Args:
            output_tokens: returns the output tokens of the whole run; called only if needed.
        """
        del output_tokens
        return None

    def compile_caches(self, environ: Mapping[str, str]) -> Iterator[Path]:
        """Yield the folders of its own compile caches; a start that adds compiled code there is a warm-up.

        Those of common libraries (torch, Triton, FlashInfer, DeepGEMM and others) are always watched.

        Args:
            environ: the environment of its processes.
        """
        del environ
        yield from ()

    def software(self, environ: Mapping[str, str]) -> Iterator[Finding]:
        """Yield findings about the software that it needs, in the environment of the run."""
        del environ
        yield from ()


def _named(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def named(engine: EngineSettings, *args: Any, **kwargs: Any) -> Any:
        what = f"{call.__name__} of its engine {engine.type}"
        try:
            found = call(engine, *args, **kwargs)
            found = list(found) if isinstance(found, Iterator) else found  # it may fail later
        except extensions.FAULTS:
            with extensions.named(plugin_of(engine), what):
                raise
        if call.__name__ == "software":
            return _software(plugin_of(engine), what, found)
        text, adapter = _expected(call.__name__)
        try:
            adapter.validate_python(found, strict=True)
        except ValidationError:
            why = f"{what} returned {extensions.shown(found)}, expected {text}"
            raise extensions.broken(plugin_of(engine), why) from None
        return found

    return named


@cache
def _expected(name: str) -> tuple[str, TypeAdapter[Any]]:
    """Return the type of what an engine's property or method returns, also in words."""
    asked = vars(EngineSettings)[name]
    function = asked.fget if isinstance(asked, property) else asked
    return function.__annotations__["return"], TypeAdapter(get_type_hints(function)["return"])


def _software(plugin: str, what: str, returned: object) -> Iterator[Finding]:
    found = extensions.listed(plugin, what, returned, Finding)
    for finding in found:
        extensions.refuse_wrong_fields(plugin, f"a finding of {what}", finding)
    return iter(found)


@dataclass(frozen=True, kw_only=True)
class EngineSchema:
    """The part of an engine that the scenario schema needs.

    Attributes:
        settings: the model of ``engine:``; its ``type`` is a ``Literal`` of one name.
        rules: the rules between values of its scenarios.
    """

    settings: type[EngineSettings]
    rules: tuple[Relation, ...] = ()

    @property
    def name(self) -> str:
        """The value of ``engine.type``."""
        return type_of(self.settings)


def type_of(settings: type[EngineSettings]) -> str:
    """Return the value of ``engine.type`` that selects these settings.

    Raises:
        ValueError: they are not settings of an engine, have no type, or a field that cannot be a key.
    """
    if not (isinstance(settings, type) and issubclass(settings, EngineSettings)):
        raise ValueError(  # noqa: TRY004 - the plugin's value is wrong
            f"settings of an engine: expected a class of EngineSettings, found {extensions.shown(settings)}"
        )
    names = get_args(settings.model_fields["type"].annotation)
    if len(names) != 1:
        raise ValueError(f"{settings.__name__} has no field `type: Literal[...]` with the name of the engine")
    if not settings.__module__.startswith("pytest_dsr1."):
        for name, field in settings.model_fields.items():
            if why := no_key(name, field, frozenset(vars(EngineSettings)) - {"type"}):
                raise ValueError(f"the field {name} of {settings.__name__} {why}")
    return str(names[0])


def engines() -> dict[str, EngineSchema]:
    """Return every registered engine by the value of ``engine.type``, ours first.

    Raises:
        UserError: a plugin is broken, or two engines have the same name.
    """
    return {name: schema for name, (_, schema) in extensions.declared(HOOK, EngineSchema).items()}


def plugin_of(engine: EngineSettings) -> str:
    """Return the name of the plugin that lists the engine with these settings."""
    return extensions.declared(HOOK, EngineSchema)[engine.type][0]


class _Registered:
    """The schema of ``engine:``, made from the registered engines when it is first needed."""

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = tuple(schema.settings for schema in engines().values())
        return handler.generate_schema(Annotated[Union[models], Field(discriminator="type")])  # noqa: UP007


Engine = Annotated[EngineSettings, _Registered()]
