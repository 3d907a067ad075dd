"""An engine that answers at once, for tests of everything around an engine. It is not part of the product.

It reads environment variables. ``SCRIPTED_LATENCY_S`` (0.5) is the latency. ``SCRIPTED_FAIL`` makes it fail,
with ``SCRIPTED_FAIL_RUNS`` (such as ``2,3``) only in those runs, and with the log ``SCRIPTED_LOG``.
``SCRIPTED_NOISE`` is the standard deviation of the logarithm of the speed between runs.
``SCRIPTED_THREAD_LOSS`` is what each thread more than one of ``engine.threads`` adds to that logarithm.
``SCRIPTED_VERSION`` is the version of its software, ``SCRIPTED_MOE_BACKEND`` an option in effect. With
``SCRIPTED_UNTIL`` a run lasts until there is a file with that name. Each run adds a line to
``engine-runs.txt`` in the current directory.

It answers a prompt of token ids with numbers that follow from them, and a text with the sum of its numbers.
``SCRIPTED_WRONG`` is the number of questions of each set that it answers otherwise, ``SCRIPTED_UNANSWERED``
the number that it does not answer.
"""

from __future__ import annotations

import math
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from random import Random

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.in_effect import Option, saved
from pytest_dsr1.engines.protocol import AskingInterruptedError, EngineResult, Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.records import Answer, Observer, Question, QuestionSet, RequestRecord


class ScriptedEngine:
    """Requests in batches of the concurrency, each of the same latency, a quarter to the first token."""

    def run(self, job: Job, observer: Observer) -> EngineResult:
        load, latency_s = job.scenario.load, float(os.environ.get("SCRIPTED_LATENCY_S", "0.5"))
        with Path("engine-runs.txt").open("a+", encoding="utf-8") as runs:
            runs.write(f"{job.scenario.name}\n")
            runs.seek(0)
            number = len(runs.readlines())
        latency_s *= math.exp(float(os.environ.get("SCRIPTED_NOISE", "0")) * Random(number).gauss(0, 1))
        more = (getattr(job.scenario.engine, "threads", None) or 1) - 1
        latency_s *= math.exp(float(os.environ.get("SCRIPTED_THREAD_LOSS", "0")) * more)
        observer.phase("loading", "weights")
        failure, failing = os.environ.get("SCRIPTED_FAIL"), os.environ.get("SCRIPTED_FAIL_RUNS")
        if failing and str(number) not in failing.split(","):
            failure = None
        if failure == "engine":
            log = os.environ.get("SCRIPTED_LOG", "out of memory")
            raise EngineError(f"the scripted engine failed; last lines of its log:\n  {log}")
        if failure == "interrupt":
            raise KeyboardInterrupt
        if failure == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        observer.phase("measuring")
        while (until := os.environ.get("SCRIPTED_UNTIL")) and not Path(until).exists():
            time.sleep(0.01)
        start_s, rows = time.monotonic(), []
        wanted = job.workload.requests
        for i in range(wanted - (failure == "fewer")):
            begin_s = start_s + i // load.at_once * latency_s
            tokens = round(job.workload.mean_output)
            error = "the server said no" if failure == "request" and i == 0 else None
            first_s = None if failure == "streaming" else begin_s + latency_s / 4
            record = RequestRecord(i, begin_s, first_s, begin_s + latency_s, 8, tokens, tokens, error)
            rows.append(record)
            observer.record(record)
            observer.progress(i + 1, tokens * (i + 1))
            if stopped := i + 1 < wanted and job.enough is not None and job.enough(record):
                break
        end_s, versions = rows[-1].last_token_s, {"scripted": os.environ.get("SCRIPTED_VERSION", "1.0")}
        answers = tuple(answer for each in job.questions for answer in _answers(each))
        with Path("engine-questions.txt").open("a", encoding="utf-8") as asked:
            asked.write(f"{len(answers)}\n")
        backend = os.environ.get("SCRIPTED_MOE_BACKEND")
        result = EngineResult(
            tuple(rows),
            {},
            start_s,
            end_s,
            0,
            versions=versions,
            facts=EngineFacts(options_in_effect=saved([Option("moe_backend", backend, "scripted")])),
            stopped=stopped,
            answers=answers,
        )
        if failure == "interrupt-answers":
            raise AskingInterruptedError(replace(result, answers=answers[:3]))
        return result

    def script(self, job: Job) -> str:
        return f"# scripted\npytest --dsr1-profile={job.scenario.name}"


def _answers(asked: QuestionSet) -> list[Answer]:
    wrong, missing = (int(os.environ.get(f"SCRIPTED_{name}", "0")) for name in ("WRONG", "UNANSWERED"))
    found = [_answer(question, wrong=n < wrong) for n, question in enumerate(asked.questions)]
    failed = [
        Answer(question.id, error="the scripted engine was asked in vain") for question in asked.questions
    ]
    return [*found[: len(found) - missing], *failed[len(found) - missing :]]


def _answer(question: Question, *, wrong: bool) -> Answer:
    if isinstance(question.prompt, str):
        total = sum(map(int, re.findall(r"[0-9]+", question.prompt))) + wrong
        return Answer(question.id, text=f"<think>2 or 3?</think>That is {total}.")
    seed = sum(question.prompt)
    tokens = tuple((seed + n + (wrong and n > 1)) % 97 for n in range(question.max_output_tokens))
    return Answer(question.id, tokens=tokens, text=" ".join(map(str, tokens)))
