"""The rules for scenarios of the engine `openai`."""

from __future__ import annotations

from pytest_dsr1.engines.openai.disaggregated import Servers, of_role
from pytest_dsr1.engines.openai.settings import OTHER_OPTIONS, OpenAi
from pytest_dsr1.engines.trtllm_options import rules as of_options
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.process.slurm import second_launcher
from pytest_dsr1.scenario.rules.accuracy import sequence_needed
from pytest_dsr1.scenario.rules.general import longest
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario

RULES: EngineRules[OpenAi] = EngineRules()


@RULES.must("engine.url", "engine.command", "engine.server", "model.path", "model.random_weights")
def _server_origin(engine: OpenAi, scenario: Scenario) -> Findings:
    """The engine openai needs one of: a running server (`engine.url`), a command that starts one (`engine.command`), or a model for pytest-dsr1 to serve."""  # noqa: E501
    model = scenario.model
    if engine.url is not None:
        if engine.command is not None or engine.arguments:
            key = "command" if engine.command is not None else "arguments"
            yield f"engine.{key}", "not allowed with `engine.url`, because that server is running"
        for index, url in enumerate(engine.urls):
            key = "engine.url" if isinstance(engine.url, str) else f"engine.url.{index}"
            if not url.startswith(("http://", "https://", "$")):
                yield key, f"expected http://HOST:PORT or https://HOST, found {url}"
            elif url in engine.urls[:index]:
                yield key, f"expected each server once, found {url} again"
    elif engine.command is None and engine.server == "other":
        yield (
            "engine",
            "expected `url` or `command`, because `server: other` has no default command; found neither",
        )
    elif engine.command is None and model.path is None and model.random_weights is None:
        yield "model", f"expected `path` of the model that {engine.server} must serve; found none"


@RULES.must("hardware.nodes", "engine.command")
def _one_launcher(engine: OpenAi, scenario: Scenario) -> Findings:
    """With several `hardware.nodes`, the `engine.command` has no launcher of its own, like srun."""
    if message := second_launcher(engine.command or (), scenario.hardware.nodes):
        yield "engine.command", message


@RULES.must("engine.url", "load.concurrency", "load.num_requests")
def _enough_for_each_server(engine: OpenAi, scenario: Scenario) -> Findings:
    """Several servers in `engine.url` need at least one request in flight each."""
    servers, at_once = len(engine.urls), min(scenario.load.at_once, scenario.load.num_requests)
    if at_once < servers:
        message = f"expected at least {servers}, one for each server in `engine.url`, found {at_once}"
        yield "load.concurrency", message


@RULES.must("engine.endpoint", "engine.server", "dataset.path")
def _text_only(engine: OpenAi, scenario: Scenario) -> Findings:
    """The chat endpoint and `transformers serve` accept only text: `dataset.path` with prompts."""
    if scenario.dataset.path is not None:
        return
    if engine.endpoint == "chat" or engine.server == "transformers":
        who = "the chat endpoint" if engine.endpoint == "chat" else "transformers serve"
        message = (
            f"{who} accepts only text, but synthetic requests are token ids; set dataset.path to a JSONL "
            "file with prompts"
        )
        yield "dataset", message


@RULES.must("engine.llm_api", "engine.server", "engine.url", "engine.arguments")
def _options_of_trtllm_serve(engine: OpenAi, _: Scenario) -> Findings:
    """`engine.llm_api` needs `engine.server: trtllm-serve`, started by pytest-dsr1 and without another options file."""  # noqa: E501
    if not engine.llm_api.given:
        return
    if engine.server != "trtllm-serve":
        yield (
            "engine.llm_api",
            f"expected `engine.server: trtllm-serve` with these options; found {engine.server}",
        )
    elif engine.url is not None:
        yield "engine.llm_api", "not allowed with `engine.url`, because that server is running"
    for word in engine.other_options:
        message = f"{word} gives the server other options than `engine.llm_api`; write all of them there"
        yield "engine.arguments", message


@RULES.should("accuracy", "engine.endpoint")
def _asked_as_in_a_chat(engine: OpenAi, scenario: Scenario) -> Findings:
    """With the engine openai, `accuracy.tasks` are asked with `engine.endpoint: chat`, through the model's chat template."""  # noqa: E501
    if scenario.accuracy and scenario.accuracy.tasks and not engine.uses_chat_template:
        message = (
            "the questions are sent without the model's chat template, which most chat models need for good "
            "answers: set engine.endpoint: chat, and dataset.path to a file with prompts"
        )
        yield "accuracy.tasks", message


@RULES.must("engine.max_seq_len", "accuracy", "dataset.input_tokens")
def _questions_fit(engine: OpenAi, scenario: Scenario) -> Findings:
    """`engine.max_seq_len` of the engine openai has room for the longest answer of `accuracy`."""
    needed = sequence_needed(scenario, longest(scenario.dataset.input_tokens))
    if engine.max_seq_len is not None and engine.max_seq_len < needed:
        wanted = f"expected at least {needed} tokens, which `accuracy` needs for its longest answer"
        yield "engine.max_seq_len", f"{wanted}; found {engine.max_seq_len}"


_MORE_RANKS = ("--pp_size", "--cp_size")


@RULES.must("engine.tp", "engine.pp", "engine.server", "engine.url", "engine.llm_api", "hardware.count")
def _ranks(engine: OpenAi, scenario: Scenario) -> Findings:
    """With `engine.server: trtllm-serve`, `engine.tp` times `engine.pp` times `context_parallel_size` is `hardware.count`."""  # noqa: E501
    if engine.server != "trtllm-serve" or engine.url is not None or engine.tp is None:
        return
    if {word.partition("=")[0] for word in engine.arguments}.intersection((*OTHER_OPTIONS, *_MORE_RANKS)):
        return  # they may give it more ranks
    stages, contexts = engine.pp or 1, engine.llm_api.context_parallel_size
    ranks, count = engine.tp * stages * (contexts or 1), scenario.hardware.count
    if ranks != count:
        more = f" x context_parallel_size {contexts}" if contexts else ""
        found = f"tp {engine.tp} x pp {stages}{more} = {ranks} GPUs"
        yield "engine.tp", f"expected tp x pp to be hardware.count, {count}; found {found}"


_OF_A_ROLE = (
    *("tp", "pp", "ep", "max_batch_size", "max_num_tokens", "max_seq_len"),
    *("gpu_memory_fraction", "llm_api", "command", "arguments"),
)


@RULES.must("engine.disaggregated", "engine.server", "engine.url")
def _disaggregated_alone(engine: OpenAi, _: Scenario) -> Findings:
    """`engine.disaggregated` needs `engine.server: trtllm-serve`, started by pytest-dsr1, and has the options of its servers in each role."""  # noqa: E501
    if engine.disaggregated is None:
        return
    if engine.server != "trtllm-serve":
        yield "engine.disaggregated", f"expected `engine.server: trtllm-serve`; found {engine.server}"
    if engine.url is not None:
        yield "engine.url", "not allowed with `engine.disaggregated`, whose servers pytest-dsr1 starts"
    for key in _OF_A_ROLE:
        if getattr(engine, key) not in (None, [], LlmApiOptions()):
            where = "each role has its own" if key in Servers.model_fields else "its servers have none"
            yield f"engine.{key}", f"not allowed with `engine.disaggregated`: {where}"


@RULES.must("engine.disaggregated", "hardware.count", "hardware.nodes")
def _gpus_of_all_servers(engine: OpenAi, scenario: Scenario) -> Findings:
    """The servers of `engine.disaggregated` have `hardware.count` GPUs together, and each of them one of `hardware.nodes` alone, or fills several."""  # noqa: E501
    asked, hardware = engine.disaggregated, scenario.hardware
    if asked is None:
        return
    if asked.gpus != hardware.count:
        each = " + ".join(f"{one.servers} x {one.gpus} ({role})" for role, one in asked.roles.items())
        message = f"expected the GPUs of all servers, {each} = {asked.gpus}; found {hardware.count}"
        yield "hardware.count", message
    layouts = asked.layouts()
    if hardware.nodes not in layouts:
        known = ", ".join(f"{nodes} (of {gpus} GPUs)" for nodes, gpus in layouts.items())
        message = f"expected one for each server, or several that it fills: {known}; found {hardware.nodes}"
        yield "hardware.nodes", message


@RULES.must("engine.disaggregated")
def _cache_is_passed_on(engine: OpenAi, _: Scenario) -> Findings:
    """Both roles of `engine.disaggregated` have the same `llm_api.cache_transceiver_config.backend`: without one no KV cache is passed on."""  # noqa: E501
    backends = {role: _transceiver(alone) for role, alone in engine.roles.items()}
    key = "engine.llm_api.cache_transceiver_config"
    for role, backend in backends.items():
        if backend is None:
            message = "expected a `backend` in it, which passes the KV cache on between the roles; found none"
            yield of_role(role, key), message
    if None not in backends.values() and len(set(backends.values())) > 1:
        context, generation = backends.values()
        message = f"expected the backend of the context servers, {context}; found {generation}"
        yield of_role("generation", f"{key}.backend"), message


def _transceiver(alone: OpenAi) -> object:
    """Return the backend that passes the KV cache on; None without one."""
    config = alone.llm_api.cache_transceiver_config
    if config is not None and config.backend is not None:
        return config.backend
    free = (alone.llm_api.unchecked or {}).get("cache_transceiver_config")
    return free.get("backend") if isinstance(free, dict) else None


@RULES.must("engine.disaggregated", "dataset.path", "speculation")
def _options_of_roles(engine: OpenAi, scenario: Scenario) -> Findings:
    """The rules for `engine.llm_api` also hold for that of each role of `engine.disaggregated`."""
    yield from _broken_by_roles(engine, scenario, impossible=True)


@RULES.should("engine.disaggregated")
def _options_of_roles_as_advised(engine: OpenAi, scenario: Scenario) -> Findings:
    """The rules that warn about `engine.llm_api` also hold for each role of `engine.disaggregated`."""
    yield from _broken_by_roles(engine, scenario, impossible=False)


def _broken_by_roles(engine: OpenAi, scenario: Scenario, *, impossible: bool) -> Findings:
    relations = [each for each in of_options.RULES.relations if each.impossible == impossible]
    for role, alone in engine.roles.items():
        served = scenario.model_copy(update={"engine": alone})
        for relation in relations:
            for key, message in relation.check(served):
                if key.startswith("engine."):
                    yield of_role(role, key), message.replace("engine.", f"engine.disaggregated.{role}.")
                elif role == "generation" and impossible:
                    yield key, message
