"""What the pictures say, and that each can be drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from pytest_dsr1.case.case import case_of
from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.gate.history import History, history
from pytest_dsr1.machine.telemetry.throttling import SOFTWARE_POWER_CAP
from pytest_dsr1.machine.values import GpuSample
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.reporting.charts.history import (
    PublishedPoint,
    ReportContext,
    comparison_pictures,
    published_points,
)
from pytest_dsr1.reporting.charts.run import Picture, of_measurement, overlaid
from pytest_dsr1.reporting.charts.vega import svg
from pytest_dsr1.scenario.loading import load_all
from pytest_dsr1.scenario.profiles import discover
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number
from tests.helpers.saved_runs import Made, judged, references, save, steady
from tests.helpers.values import measurement, records, scenario

NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
RUN = Made(waves=4, concurrency=32)
POINT = PublishedPoint("h200-max-throughput", "V5", "deepseek-ai/DeepSeek-R1", "NVIDIA H200", 11.3, 1436.0)


def by_title(pictures: list[Picture]) -> dict[str, Picture]:
    return {picture.title: picture for picture in pictures}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    return save(tmp_path_factory.mktemp("results"), RUN)


def test_the_pictures_of_a_run_on_gpus(run: Measurement) -> None:
    pictures = list(of_measurement(run))
    assert [picture.title for picture in pictures] == [
        "Output throughput over time",
        "Requests in flight",
        "Request latency",
        "Time to first token (TTFT)",
        "Time per output token (TPOT)",
        "GPU SM clock",
        "GPU power",
        "GPU temperature",
    ]
    for picture in pictures:
        drawn = svg(picture.spec)
        assert drawn.startswith("<svg ")
        assert "var(--" in drawn
        assert "NaN" not in drawn


def test_what_the_captions_say(run: Measurement) -> None:
    found = by_title(list(of_measurement(run)))
    throughput = found["Output throughput over time"].caption
    assert throughput.startswith("The whole run: ")
    assert " tok/s; the steady figure, which a gate judges, from 9" in throughput
    assert throughput.endswith("warm-up and drain are shaded.")
    assert found["Requests in flight"].caption.endswith(
        "requests in flight on average; load.concurrency asks for 32."
    )
    scenario = run.scenario
    load = scenario.load.model_copy(update={"concurrency": "all"})
    unlimited = replace(run, scenario=scenario.model_copy(update={"load": load}))
    caption = by_title(list(of_measurement(unlimited)))["Requests in flight"].caption
    assert caption.endswith("requests in flight on average; load.concurrency sets no limit.")
    assert found["Request latency"].caption.startswith("128 requests: median ")
    assert " ms, 90% within " in found["Request latency"].caption
    assert found["Request latency"].caption.endswith("(beyond the right edge).")
    clocks = found["GPU SM clock"].caption
    assert clocks.startswith("8 GPUs: 1,950 MHz to 1,980 MHz, 1,96")
    assert re.search(
        r" MHz on average; lines: means of each GPU over \d\.\d s; gray band: lowest to highest sample of "
        r"any GPU; not throttled\.$",
        clocks,
    )


def changed(run: Measurement, change: Callable[[GpuSample], GpuSample]) -> Measurement:
    samples = tuple(map(change, run.telemetry.samples))
    return replace(run, telemetry=replace(run.telemetry, samples=samples))


def test_a_moment_of_one_gpu_is_told_and_drawn(tmp_path: Path) -> None:
    """A point of its line is the mean of many samples, and says nothing of it."""
    long = save(tmp_path, replace(RUN, speed=0.1))

    def dip(sample: GpuSample) -> GpuSample:
        is_it = sample.gpu == 3 and sample.time_s == 1130.0
        return replace(sample, temperature_c=91, sm_clock_mhz=900) if is_it else sample

    found = by_title(list(of_measurement(changed(long, dip))))
    assert found["GPU SM clock"].caption.startswith("8 GPUs: 900 MHz (GPU 3 at 02:10) to 1,980 MHz, ")
    assert found["GPU temperature"].caption.startswith("8 GPUs: 61 C to 91 C (GPU 3 at 02:10), ")
    band, lines = found["GPU SM clock"].spec["layer"]
    assert (band["mark"]["type"], lines["mark"]["type"]) == ("area", "line")
    assert min(row["y"] for row in band["data"]["values"]) == 900
    assert band["encoding"]["y"]["scale"]["domain"] == [900, 1980], "all of it is within the picture"


def test_of_one_gpu_nobody_is_told_which(tmp_path: Path) -> None:
    one = save(tmp_path, Made("slice-h200/min-latency", concurrency=1))
    caption = by_title(list(of_measurement(one)))["GPU power"].caption
    assert re.match(
        r"1 GPU: \d+ W \(at [\d.]+ s\) to \d+ W \(at [\d.]+ s\), \d+ W on average; line: means over "
        r"\d\.\d s; gray band: lowest to highest sample; not throttled\.$",
        caption,
    )


def test_what_a_dashed_line_is_stands_where_no_data_is(run: Measurement) -> None:
    found = by_title(list(of_measurement(run)))
    for title, text in (
        ("Output throughput over time", "dashed: target"),
        ("Requests in flight", "dashed: load.concurrency"),
    ):
        assert re.search(rf'translate\(360,-\d+\)"[^>]*>{text}<', svg(found[title].spec)), "above the axes"


@pytest.mark.parametrize(
    ("slowest_s", "said"), [(1.000001, "the slowest 1,000 ms."), (2.0, "2,000 ms (beyond the right edge).")]
)
def test_what_is_beyond_the_edge_is_seen_in_the_numbers(slowest_s: float, said: str) -> None:
    latencies_s = [*np.linspace(0.5, 1.0, 199).tolist(), slowest_s]
    many = tuple(
        replace(record, last_token_s=record.submitted_s + latency_s)
        for record, latency_s in zip(records(200), latencies_s, strict=True)
    )
    result = EngineResult(many, {}, 100.0, 201.0, 0)
    found = by_title(list(of_measurement(measurement(records=many, result=result))))
    assert found["Request latency"].caption.endswith(said)


def test_throttling_is_told_and_shaded(tmp_path: Path) -> None:
    hot = save(tmp_path, replace(RUN, throttled=(5, 0.25, 0.5)))
    found = by_title(list(of_measurement(hot)))
    for title in ("GPU SM clock", "GPU power", "GPU temperature"):
        assert (
            "; GPU 5 was throttled from 7.0 s to 14.0 s (hardware thermal slowdown)." in found[title].caption
        )
        assert 'fill="var(--bad)"' in svg(found[title].spec)


@pytest.mark.parametrize(
    ("speed", "form"), [(0.1, r"from \d\d:\d\d to \d\d:\d\d"), (100.0, r"from \d\.\d s to \d\.\d s")]
)
def test_times_within_a_minute_are_in_tenths_of_a_second(tmp_path: Path, speed: float, form: str) -> None:
    run = save(tmp_path, replace(RUN, speed=speed, sample_s=1 / speed, throttled=(5, 0.25, 0.5)))
    found = by_title(list(of_measurement(run)))
    assert re.search(f"which a gate judges, {form}: ", found["Output throughput over time"].caption)
    assert re.search(f"throttled {form} \\(", found["GPU power"].caption)


def test_a_small_run_on_the_cpu() -> None:
    found = by_title(list(of_measurement(measurement())))
    assert set(found) == {
        "Output throughput over time",
        "Requests in flight",
        "Request latency",
        "Time to first token (TTFT)",
        "Time per output token (TPOT)",
    }
    assert "4 requests are too few for a steady figure" in found["Output throughput over time"].caption
    silent = by_title(list(of_measurement(measurement(records=records(4, streaming=False)))))
    assert "the engine did not stream" in silent["Output throughput over time"].caption
    assert all(svg(picture.spec) for picture in (*found.values(), *silent.values()))


def test_times_of_tokens_that_are_not_known_are_not_drawn() -> None:
    """As behind a proxy that collects events; the reason stands where the pictures would be."""
    run = measurement(records=records(4, streaming=False))
    facts = EngineFacts(not_measured={"average_ttft": "100% of the tokens came in clumps"})
    found = by_title(list(of_measurement(replace(run, result=replace(run.result, facts=facts)))))
    assert set(found) == {"Output throughput over time", "Requests in flight", "Request latency"}
    assert found["Request latency"].caption.endswith(
        " ms; TTFT and TPOT are not drawn: 100% of the tokens came in clumps."
    )
    assert found["Output throughput over time"].caption.endswith(
        "; the times of tokens are unknown, so tokens are spread evenly over each request."
    )


def every_scenario() -> Iterator[Scenario]:
    """Yield all that ship, with each point of a sweep."""
    for profile in discover([]).profiles:
        yield from (each.scenario for each in load_all(profile.path))


def test_published_points_are_the_newest_that_say_both() -> None:
    found = published_points(
        each.scenario for profile in discover([]).profiles for each in load_all(profile.path)
    )
    points = {point.profile: point for point in found}
    assert points["h200-max-throughput"].per_user == 11.3476
    assert points["h200-max-throughput"].per_gpu == 1436.1584
    assert points["b200-min-latency"].gpu == "NVIDIA B200"
    assert published_points([scenario()]) == ()


def test_beside_references_earlier_runs_and_published_results(tmp_path: Path) -> None:
    made = replace(RUN, speed=0.9, day=9)
    for day in range(-1, 3):  # the first of them is one of the references
        save(tmp_path / "results", replace(RUN, day=day, seed=day + 5))
    here = save(tmp_path / "results", made)
    values = [steady(here) * factor for factor in (1.0, 1.02, 1.01)]
    references(tmp_path / "store", here.scenario, here.fingerprint, values)
    past = history(tmp_path / "results")
    case = case_of(judged(here, made), tmp_path / "store", NOW, past)
    found = by_title(list(comparison_pictures(case, ReportContext(past, (POINT,), NOW))))
    assert set(found) == {
        "Against the reference runs",
        "Throughput per GPU vs. speed per user",
        "Trend across runs",
        "Trend of steady figures",
    }
    against = found["Against the reference runs"]
    assert against.caption.startswith(
        "Steady figures of total output throughput: 3 references, accepted 2026-11-20 (TensorRT-LLM 1.2.1): "
    )
    assert "from -0.99% to +0.99%; this run: -0.99%." in against.caption
    plane = found["Throughput per GPU vs. speed per user"]
    assert (
        "; 4 other runs of this model on this machine; published for deepseek-ai/DeepSeek-R1 on its GPU, "
        in plane.caption
    )
    assert "from left to right: (1) h200-max-throughput. Up and" in plane.caption
    whole, own = here.metrics["total_output_throughput"].value, steady(here)
    assert own > 1.05 * whole, "what is compared with the references is not the whole run"
    over = found["Trend across runs"]
    assert over.caption.startswith(
        "total output throughput of 5 whole runs of this profile on this machine, of as many requests: "
    )
    assert over.caption.endswith(f" tok/s, this one {number(whole)}.")
    assert values_of(over) == {
        "other runs": [run.metrics["total_output_throughput"] for run in past.runs[:4]],
        "this run": [whole],
    }
    like = found["Trend of steady figures"]
    assert like.caption == (
        f"Steady figures of total output throughput over the first 128 requests: 3 accepted references, "
        f"{number(own * (1.02 * 1.01) ** (1 / 3))} tok/s on average; this run {number(own)}."
    )
    assert values_of(like) == {"references": values, "this run": [own]}
    assert all("NaN" not in svg(picture.spec) for picture in found.values())


def values_of(picture: Picture) -> dict[str, list[float]]:
    """The values of each group of a picture over dates."""
    found: dict[str, list[float]] = {}
    for row in picture.spec["layer"][0]["data"]["values"]:
        found.setdefault(row["kind"], []).append(row["y"])
    return found


def test_a_run_of_fewer_requests_or_stopped_early_is_no_point_of_the_trend(tmp_path: Path) -> None:
    """A gate sends fewer requests and stops early, so ramp-up and drain are a larger share of its runs."""
    sent = (("dataset.requests", "1280"),)
    like = save(tmp_path, replace(RUN, day=1, facts=sent))
    save(tmp_path, replace(RUN, day=2, facts=(("dataset.requests", "512"),)))
    stopped = save(tmp_path, replace(RUN, day=3, facts=sent))
    path = stopped.folder / "measurement.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["measurement"]["result"]["stopped"] = True
    path.write_text(json.dumps(document), encoding="utf-8")
    here = save(tmp_path, replace(RUN, day=4, facts=sent))
    past = history(tmp_path)
    case = case_of(judged(here, RUN), tmp_path / "store", NOW, past)
    assert len(case.background.past) == 3
    found = by_title(list(comparison_pictures(case, ReportContext(past, (), NOW))))
    shown = values_of(found["Trend across runs"])
    assert shown["other runs"] == [like.metrics["total_output_throughput"].value]
    assert "; 2 other runs of this model " in found["Throughput per GPU vs. speed per user"].caption


def test_published_results_are_of_the_model_with_the_same_name(tmp_path: Path) -> None:
    made = replace(RUN, overrides=("model.name=Qwen/Qwen3-235B-A22B",))
    case = case_of(judged(save(tmp_path, made), made), tmp_path / "store", NOW)
    (plane,) = comparison_pictures(case, ReportContext(History(), (POINT,), NOW))
    assert "; no published result of Qwen/Qwen3-235B-A22B on its GPU is known. Up" in plane.caption
    assert ">published<" not in svg(plane.spec)


def test_other_machines_and_profiles_are_no_history(tmp_path: Path) -> None:
    save(tmp_path, replace(RUN, facts=(("gpu.uuids", "other"),)))
    here = save(tmp_path, replace(RUN, day=1))
    past = history(tmp_path)
    case = case_of(judged(here, RUN), tmp_path / "store", NOW, past)
    found = by_title(list(comparison_pictures(case, ReportContext(past, (), NOW))))
    plane = found["Throughput per GPU vs. speed per user"]
    assert "; 0 other runs of this model on this machine; no published result of deepseek-" in plane.caption
    assert "-ai/DeepSeek-R1 on its GPU is known." in plane.caption
    assert "Trend across runs" not in found
    assert "Against the reference runs" not in found


def test_what_a_gate_would_not_compare_is_not_set_beside_a_run(tmp_path: Path) -> None:
    """Shorter requests under the same profile, and references of such, as with ``--dsr1-set``."""
    other = (("dataset.content", "shorter"),)
    short = save(tmp_path / "results", replace(RUN, facts=other))
    references(tmp_path / "store", short.scenario, short.fingerprint, [1.0, 1.1, 1.2])
    here = save(tmp_path / "results", replace(RUN, day=1))
    past = history(tmp_path / "results")
    case = case_of(judged(here, RUN), tmp_path / "store", NOW, past)
    assert case.background.references is not None
    assert case.background.comparable is None
    found = by_title(list(comparison_pictures(case, ReportContext(past, (), NOW))))
    assert set(found) == {"Throughput per GPU vs. speed per user"}, "the model is the same"
    again = case_of(judged(short, RUN), tmp_path / "store", NOW)
    assert again.background.comparable is not None


def test_published_results_are_of_no_model_with_random_weights(tmp_path: Path) -> None:
    slice_of_r1 = Made("slice-h200/min-latency", concurrency=1)
    case = case_of(judged(save(tmp_path, slice_of_r1), slice_of_r1), tmp_path / "store", NOW)
    (plane,) = comparison_pictures(case, ReportContext(History(), (POINT,), NOW))
    assert "; published results are not of random weights, so none are shown. Up" in plane.caption
    assert ">published<" not in svg(plane.spec)


def test_published_results_are_numbered_and_named_below(tmp_path: Path) -> None:
    """Beside their points the names would overprint each other."""
    published = published_points(
        each.scenario for profile in discover([]).profiles for each in load_all(profile.path)
    )
    of_b200 = replace(RUN, suite="b200/max-throughput")
    case = case_of(judged(save(tmp_path, of_b200), of_b200), tmp_path / "store", NOW)
    (plane,) = comparison_pictures(case, ReportContext(History(), published, NOW))
    assert (
        "(1) b200-max-throughput, (2) b200-min-latency-first-published, (3) b200-min-latency."
        in plane.caption
    )
    drawn = svg(plane.spec)
    assert all(f">{n}</text>" in drawn for n in (1, 2, 3))
    assert "b200-" not in drawn


@pytest.mark.parametrize(("minutes", "label"), [(1, "16:58"), (60, "18:00")])
def test_the_times_of_runs_are_those_of_a_24_hour_clock(tmp_path: Path, minutes: int, label: str) -> None:
    for run in range(1, 6):
        save(tmp_path, replace(RUN, day=9 / 24 + run * minutes / 24 / 60, seed=run))
    here = save(tmp_path, replace(RUN, day=(9 - 3 / 60) / 24))
    past = history(tmp_path)
    case = case_of(judged(here, RUN), tmp_path / "store", NOW, past)
    found = by_title(list(comparison_pictures(case, ReportContext(past, (), NOW))))
    drawn = svg(found["Trend across runs"].spec)
    assert f">{label}<" in drawn
    assert " PM<" not in drawn


def test_time_at_the_power_cap_is_a_share_of_the_run(tmp_path: Path) -> None:
    short = save(tmp_path, replace(RUN, throttled=None))
    cap = SOFTWARE_POWER_CAP
    capped = changed(short, lambda one: replace(one, throttle_reasons=cap if one.gpu in (0, 1) else 0))
    found = by_title(list(of_measurement(capped)))
    assert found["GPU power"].caption.endswith("; not throttled; at the software power cap 25% of the time.")


def test_pictures_of_some_of_the_gpus_do_not_call_the_others_healthy(tmp_path: Path) -> None:
    run = save(tmp_path, replace(RUN, throttled=None))
    hardware = run.scenario.hardware.model_copy(update={"count": 16})
    more = replace(run, scenario=run.scenario.model_copy(update={"hardware": hardware}))
    half = changed(more, lambda one: one)
    found = by_title(list(of_measurement(half)))
    assert found["GPU temperature"].caption.endswith(
        "; not throttled as far as seen; nothing is known of 8 of its 16 GPUs: they were not watched."
    )


def test_a_run_on_the_cpu_has_no_plane(tmp_path: Path) -> None:
    case = case_of(judged(save(tmp_path, Made("cpu/max-throughput", concurrency=4)), RUN), tmp_path, NOW)
    assert list(comparison_pictures(case, ReportContext(History(), (POINT,), NOW))) == []


def test_results_laid_over_each_other(run: Measurement, tmp_path: Path) -> None:
    slow = save(tmp_path, replace(RUN, speed=0.8))
    pictures = list(overlaid([run, slow], ["before", "after"]))
    assert [picture.title for picture in pictures] == [
        "Output throughput over time",
        "Request latency",
        "Time to first token (TTFT)",
        "Time per output token (TPOT)",
    ]
    assert pictures[0].caption.startswith("before: ")
    assert "; after: median " in pictures[1].caption
    for picture in pictures:
        drawn = svg(picture.spec)
        assert ">before<" in drawn
        assert ">after<" in drawn
    alone = measurement(records=records(4, streaming=False))
    assert [picture.title for picture in overlaid([run, alone], ["a", "b"])] == [
        "Output throughput over time",
        "Request latency",
    ]


@pytest.mark.parametrize(("name", "columns"), [("17:06", 2), ("slice-h200-max-throughput 17:06", 1)])
def test_a_legend_has_room_for_whole_names(run: Measurement, name: str, columns: int) -> None:
    picture = next(overlaid([run, run], ["17:05", name]))
    assert picture.spec["layer"][0]["encoding"]["color"]["legend"]["columns"] == columns
    assert f">{name}<" in svg(picture.spec)


FORCED = (
    "engine.llm_api.speculative_config={decoding_type: MTP, max_draft_len: 3}",
    "speculation.acceptance_length=2.4",
)


def test_a_forced_run_is_on_no_plane_with_natural_figures(tmp_path: Path) -> None:
    fact = ("option.speculation.acceptance_length", "2.4")
    forced = replace(RUN, overrides=FORCED, facts=(fact,), day=1)
    natural, here = save(tmp_path / "results", RUN), save(tmp_path / "results", forced)
    save(tmp_path / "results", replace(forced, day=2))
    past = history(tmp_path / "results")
    background = ReportContext(past, (POINT,), NOW)
    captions = []
    for run, made in ((here, forced), (natural, RUN)):
        case = case_of(judged(run, made), tmp_path / "store", NOW, past)
        found = by_title(list(comparison_pictures(case, background)))
        captions.append(found["Throughput per GPU vs. speed per user"].caption)
    assert (
        "; 1 other runs of this model on this machine; acceptance length 2.4 forced, published results are "
        "natural, so none are shown. Up" in captions[0]
    )
    assert "; 0 other runs of this model on this machine; published for deepseek-ai" in captions[1]
    assert published_points([natural.scenario])
    assert published_points([here.scenario]) == ()
