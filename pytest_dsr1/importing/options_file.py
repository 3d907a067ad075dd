"""Options files without a load: examples/configs/database and curated of TensorRT-LLM.

The load is in the path of those in the database: ``ORG/MODEL/GPU/1k8k_tp8_conc64.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.trtllm_options.options import KEYS_OF_THE_ENGINE, LlmApiOptions
from pytest_dsr1.importing.fields import Fields
from pytest_dsr1.importing.harvest import Case, Harvest, Refusal, RefusedError
from pytest_dsr1.importing.models import checkpoint_on_hugging_face
from pytest_dsr1.importing.served import Lengths, Origin, ServedRun, safe_name

_NAME = re.compile(
    r"(?P<isl>[1-9]\d{0,3})k(?P<osl>[1-9]\d{0,3})k_tp(?P<tp>[1-9]\d{0,3})_conc(?P<conc>[1-9]\d{0,6})"
)
ROUNDS = 10
"""Requests per request in flight: perf-sanity's database files run the same configurations with 10."""


def is_options_file(keys: Mapping[str, Any]) -> bool:
    """Return whether a file with these keys is an options file."""
    return bool(keys) and not {*KEYS_OF_THE_ENGINE, *LlmApiOptions.model_fields}.isdisjoint(keys)


def read(top: Fields, path: Path, origin: Origin, harvest: Harvest) -> None:
    """Add the file's case to the harvest."""
    named = _NAME.fullmatch(path.stem)
    *_, org, model, gpu, _ = ("", "", "", *path.resolve().parts)
    checkpoint = checkpoint_on_hugging_face(f"{org}/{model}")
    if named is None:
        reason = (
            "it is an options file without a load; a name such as B200/1k1k_tp8_conc64.yaml would say it. "
            "Write a scenario with your load, and put the options into engine.llm_api"
        )
        harvest.refusals.append(Refusal(top.node.mark, "", reason))
        return
    if checkpoint is None:
        harvest.refusals.append(Refusal(top.node.mark, "", f"its folder names another model ({org}/{model})"))
        return
    before = len(top.problems)
    top.refuse_other_words()
    isl, osl, tp, concurrency = (int(named[group]) for group in ("isl", "osl", "tp", "conc"))
    if (given := top.whole("tensor_parallel_size", 1)) != tp:
        message = f"expected {tp}, as the file's name says, found {given}"
        top.mistake("tensor_parallel_size", message)
    stages = top.whole_or_null("pipeline_parallel_size", 1) or 1
    contexts = top.whole_or_null("context_parallel_size", 1) or 1
    for key in ("moe_expert_parallel_size", "max_batch_size", "max_num_tokens", "max_seq_len"):
        top.whole_or_null(key)
    run = ServedRun(
        name=safe_name(model, gpu.lower(), path.stem),
        what="options file, with the load that its name says",
        checkpoint=checkpoint,
        gpu=gpu.partition("_")[0],
        gpus=tp * stages * contexts,
        options=top.node.plain(),
        lengths=Lengths(isl * 1024, osl * 1024),
        concurrency=concurrency,
        rounds=ROUNDS,
        notes=(
            f"The file does not say how many requests: {ROUNDS} for each in flight, as in perf-sanity.",
            "The file says nothing about a warm-up: there is none.",
        ),
    )
    if len(top.problems) > before:
        return
    try:
        harvest.cases.append(Case(run.name, top.node.mark, run.tree(origin)))
    except RefusedError as error:
        harvest.refusals.append(Refusal(top.node.mark, "", str(error)))
