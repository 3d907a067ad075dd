"""What must hold between the values of a scenario that is about a server."""

from __future__ import annotations

from pytest_dsr1.scenario.rules.registry import Findings, must
from pytest_dsr1.scenario.schema.load import OpenAi, TraceArrival
from pytest_dsr1.scenario.schema.scenario import Scenario


@must("engine.url", "engine.command", "engine.server", "model.path", "model.random_weights")
def _server_origin(scenario: Scenario) -> Findings:
    """A server (openai) runs already (`engine.url`), or is started, with the model or `engine.command`."""
    model, engine = scenario.model, scenario.engine
    if not isinstance(engine, OpenAi):
        return
    if engine.url is not None:
        if engine.command is not None or engine.arguments:
            key = "command" if engine.command is not None else "arguments"
            yield f"engine.{key}", "not possible with `engine.url`: that server runs already"
        if not engine.url.startswith(("http://", "https://", "$")):
            yield "engine.url", f"expected http://HOST:PORT or https://HOST, found {engine.url}"
    elif engine.command is None and engine.server == "other":
        yield (
            "engine",
            "expected `url` or `command`, as `server: other` has no command of its own; found none",
        )
    elif engine.command is None and model.path is None and model.random_weights is None:
        yield "model", f"expected `path`, the model that {engine.server} is to serve; found none"


@must("engine.endpoint", "engine.server", "dataset.path")
def _text_only(scenario: Scenario) -> Findings:
    """The chat endpoint, and `transformers serve`, take text only: `dataset.path` with prompts."""
    engine = scenario.engine
    if not isinstance(engine, OpenAi) or scenario.dataset.path is not None:
        return
    if engine.endpoint == "chat" or engine.server == "transformers":
        who = "the chat endpoint" if engine.endpoint == "chat" else "transformers serve"
        message = (
            f"{who} takes text only, and synthetic requests are token ids; name a JSONL file with prompts"
        )
        yield "dataset", message


@must("load.arrival", "load.ramp_s", "load.duration_s", "engine.type")
def _load_of_engine(scenario: Scenario) -> Findings:
    """`load.arrival`, `load.ramp_s` and `load.duration_s` need the engine `openai`."""
    load = scenario.load
    if isinstance(scenario.engine, OpenAi):
        if load.arrival is not None and load.ramp_s:
            yield "load.ramp_s", "not possible with `load.arrival`: an open loop has its own schedule"
        return
    for key in ("arrival", "ramp_s", "duration_s"):
        if getattr(load, key):
            yield f"load.{key}", f"not possible with the engine `{scenario.engine.type}`, only with `openai`"


@must("load.arrival", "dataset.path")
def _trace_lengths(scenario: Scenario) -> Findings:
    """A trace (`load.arrival`) brings its own lengths: no `dataset.path` with it."""
    if isinstance(scenario.load.arrival, TraceArrival) and scenario.dataset.path is not None:
        yield "dataset.path", "not possible with a trace, whose requests are made with its own lengths"
