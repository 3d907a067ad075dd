"""A command line as strict as click's: it exits with 2 for a wrong option, type, position or path."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from tests.standins.release import number

Options = dict[str, dict[str, Any]]


def declared(version: str) -> tuple[Options, Options]:
    """Return the options of the group and of ``throughput`` in the newest known version up to ``version``."""
    data = json.loads(Path(__file__).with_name("options.json").read_text(encoding="utf-8"))
    numbers = number(version)[:2]
    known = [key for key in data if not key.startswith("_") and tuple(map(int, key.split("."))) <= numbers]
    return data[known[-1]]["group"], data[known[-1]]["throughput"]


def usage_error(context: str, message: str) -> NoReturn:
    sys.stderr.write(f"Usage: {context} [OPTIONS]\nTry '{context} --help' for help.\n\nError: {message}\n")
    raise SystemExit(2)


def parse(arguments: list[str], version: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of the group's options and of throughput's options, by name without dashes."""
    group, throughput = declared(version)
    values, rest = _options(arguments, group, "trtllm-bench")
    if not rest or rest[0] != "throughput":
        usage_error("trtllm-bench", f"No such command '{rest[0]}'." if rest else "Missing command.")
    if "model" not in values:
        usage_error("trtllm-bench", "Missing option '--model' / '-m'.")
    own, left = _options(rest[1:], throughput, "trtllm-bench throughput")
    if left:
        usage_error("trtllm-bench throughput", f"Got unexpected extra argument ({left[0]})")
    return values, own


def _options(arguments: list[str], options: Options, context: str) -> tuple[dict[str, Any], list[str]]:
    aliases = {alias: name for name, spec in options.items() for alias in spec["aliases"]}
    values = {name[2:]: spec["default"] for name, spec in options.items() if "default" in spec}
    todo = list(arguments)
    while todo and todo[0].startswith("-"):
        word, _, attached = todo.pop(0).partition("=")
        if word == "--help":
            _help(options, context)
        if word not in aliases:
            usage_error(context, f"No such option: {word}")
        name = aliases[word]
        spec = options[name]
        if spec.get("is_flag"):
            values[name[2:]] = not word.startswith(("--no-", "--disable_"))
            continue
        if not attached and not todo:
            usage_error(context, f"Option '{word}' requires an argument.")
        values[name[2:]] = _value(
            attached or todo.pop(0), " / ".join(f"'{a}'" for a in spec["aliases"]), spec, context
        )
    return values, todo


def _value(text: str, shown: str, spec: dict[str, Any], context: str) -> object:
    kind = spec["type"]
    try:
        if kind in {"integer", "int_range"}:
            number = int(text)
            if number < spec.get("min", number):
                usage_error(
                    context, f"Invalid value for {shown}: {text} is not in the range x>={spec['min']}."
                )
            return number
        if kind == "float":
            return float(text)
    except ValueError:
        usage_error(context, f"Invalid value for {shown}: '{text}' is not a valid {kind.replace('_', ' ')}.")
    if kind == "choice" and text not in spec["choices"]:
        choices = ", ".join(f"'{choice}'" for choice in spec["choices"])
        usage_error(context, f"Invalid value for {shown}: '{text}' is not one of {choices}.")
    if kind == "path" and spec.get("path_must_exist") and not Path(text).exists():
        usage_error(context, f"Invalid value for {shown}: Path '{text}' does not exist.")
    if kind == "path" and spec.get("dir_okay") is False and Path(text).is_dir():
        usage_error(context, f"Invalid value for {shown}: File '{text}' is a directory.")
    return text


def _help(options: Options, context: str) -> NoReturn:
    lines = [
        f"Usage: {context} [OPTIONS]",
        "",
        "  Run a throughput test on a TRT-LLM engine.",
        "",
        "Options:",
    ]
    for spec in options.values():
        names = (" / " if spec.get("is_flag") else ", ").join(spec["aliases"])
        kind = "" if spec.get("is_flag") else " " + spec["type"].upper()
        term = f"  {names}{kind}"
        # Like click, put a long term on its own line. The text mentions an option that does not exist.
        text = "See --not_an_option for more."
        lines += [f"{term:36}{text}"] if len(term) < 34 else [term, f"{'':36}{text}"]
    lines.append("  --help                            Show this message and exit.")
    print("\n".join(lines))
    raise SystemExit(0)
