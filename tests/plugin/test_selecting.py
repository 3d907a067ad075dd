"""Which scenarios are collected, and what their tests are called."""

from __future__ import annotations

import json

import pytest

from tests.helpers.suites import Suites

ALPHA = [
    "own/alpha.yaml::environment",
    "own/alpha.yaml::target[total_output_throughput]",
    "own/alpha.yaml::target[average_ttft]",
]


def ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


def collect(suites: Suites, *arguments: str) -> list[str]:
    return ids(suites.run("--collect-only", "-q", *arguments))


def test_a_profile_alone_collects_nothing_else(suites: Suites) -> None:
    suites.pytester.makepyfile(test_other="def test_other(): pass")
    assert collect(suites, "--dsr1-profile=alpha") == ALPHA


def test_profile_and_path_collect_both(suites: Suites) -> None:
    suites.pytester.makepyfile(test_other="def test_other(): pass")
    found = collect(suites, "--dsr1-profile=alpha", "test_other.py")
    assert sorted(found) == sorted([*ALPHA, "test_other.py::test_other"])


@pytest.mark.parametrize("names", ["alpha,beta", "*a", "b*,alpha,beta"])
def test_commas_and_globs(suites: Suites, names: str) -> None:
    found = collect(suites, f"--dsr1-profile={names}", "-k", "environment")
    own = [line for line in found if line.startswith("own/")]
    assert sorted(own) == ["own/alpha.yaml::environment", "own/beta.yaml::environment"]


def test_the_option_can_be_repeated(suites: Suites) -> None:
    assert len(collect(suites, "--dsr1-profile=alpha", "--dsr1-profile=beta")) == 6


def test_an_unknown_profile_is_a_usage_error_with_the_nearest_names(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alhpa")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: no scenario is named 'alhpa' (did you mean 'alpha'[?])*"])


def test_a_file_given_as_argument_needs_no_profile(suites: Suites) -> None:
    assert collect(suites, "own/alpha.yaml") == ALPHA
    assert collect(suites, "own/alpha.yaml::target[average_ttft]") == ALPHA[2:]


def test_a_folder_that_is_walked_collects_no_scenario(suites: Suites) -> None:
    result = suites.run("--collect-only", "-q", "own")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_shipped_scenarios_are_called_suites_wherever_they_lie(suites: Suites) -> None:
    assert collect(suites, "--dsr1-profile=cpu-min-latency", "-k", "environment") == [
        "suites/cpu/min-latency.yaml::environment"
    ]


@pytest.mark.parametrize("word", ["average_ttft", "target and ttft", "alpha and average"])
def test_tests_can_be_chosen_by_keyword(suites: Suites, word: str) -> None:
    assert collect(suites, "--dsr1-profile=alpha", "-k", word) == ALPHA[2:]


def test_a_marker_chooses_measurements(suites: Suites) -> None:
    assert collect(suites, "--dsr1-profile=alpha", "-m", "dsr1") == ALPHA
    assert collect(suites, "--dsr1-profile=alpha", "-m", "not dsr1") == []


def test_collecting_touches_no_gpu_model_or_dataset(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    """An H200 scenario with unset variables, on a machine without GPU, is listed all the same."""
    monkeypatch.delenv("DSR1_MODELS", raising=False)
    result = suites.run("--collect-only", "--dsr1-profile=h200-max-throughput")
    result.stdout.fnmatch_lines(["dsr1: set first: export DSR1_MODELS=..."])
    found = collect(suites, "--dsr1-profile=h200-max-throughput")
    assert "suites/h200/max-throughput.yaml::target[total_output_throughput]" in found
    assert not (suites.pytester.path / ".dsr1").exists()


def test_mistakes_in_a_profile_are_a_usage_error(suites: Suites) -> None:
    suites.write("gamma", extra="loud: true\n")
    result = suites.run("--dsr1-profile=gamma")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*own/gamma.yaml:2*1: loud: unknown key*"])
    assert "Traceback" not in result.stderr.str()


def test_mistakes_in_a_named_file_are_a_collection_error(suites: Suites) -> None:
    suites.write("gamma", extra="loud: true\n")
    result = suites.run("own/gamma.yaml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*own/gamma.yaml:2*1: loud: unknown key*"])
    assert "Traceback" not in result.stdout.str()


def test_a_value_can_be_set_for_one_run(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha", "--dsr1-set=load.concurency=4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--dsr1-set load.concurency=4: *did you mean 'concurrency'?*"])


def test_list_names_profiles_with_hardware_engine_and_targets(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSR1_MODELS", raising=False)
    result = suites.run("--dsr1-list")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "alpha",
            "    CPU, engine transformers",
            "    total output throughput >= 16 tok/s (tolerance 5%)",
            "    average time to first token (TTFT) <= 200 ms (tolerance 5%)",
            "h200-max-throughput",
            "    8 x NVIDIA H200, engine trtllm-bench",
            "    total output throughput >= 11,489 tok/s (tolerance 5%)",
            "    set first: export DSR1_MODELS=...",
        ]
    )


def test_a_python_test_is_parameterized_over_the_profiles(suites: Suites) -> None:
    suites.pytester.makepyfile(test_mine="def test_mine(dsr1_measurement): pass")
    found = collect(suites, "--dsr1-profile=alpha,beta", "test_mine.py")
    mine = [line for line in found if line.startswith("test_mine")]
    assert mine == ["test_mine.py::test_mine[alpha]", "test_mine.py::test_mine[beta]"]


def test_a_python_test_without_a_profile_is_skipped(suites: Suites) -> None:
    suites.pytester.makepyfile(test_mine="def test_mine(dsr1_measurement): pass")
    result = suites.run("test_mine.py", "-rs")
    result.assert_outcomes(skipped=1)


@pytest.mark.needs("xdist")
@pytest.mark.parametrize(
    "options",
    [("-n2",), ("--tx", "2*popen", "--dist", "load"), ("--tx=popen",), ("-d",), ("-f",), ("--looponfail",)],
)
def test_more_processes_are_refused(suites: Suites, options: tuple[str, ...]) -> None:
    """By the process that would start them: xdist replaces each one that ends, for ever."""
    result = suites.run("--dsr1-profile=alpha", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stdout.str() == ""
    (line,) = [line for line in result.errlines if line]
    assert line == (
        "ERROR: dsr1: one process measures all scenarios, because measurements on one machine disturb each "
        "other; run them separately from other tests, with `-n0` and without --tx, --dist and --looponfail"
    )


@pytest.mark.needs("xdist")
def test_no_more_processes_are_fine(suites: Suites) -> None:
    assert suites.run("--dsr1-profile=alpha", "-n0", "--collect-only").ret == 0


def test_collecting_a_scenario_imports_no_numbers(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import sys
        def pytest_unconfigure():
            assert "pytest_dsr1.reporting.terminal.listing" in sys.modules
            assert not {"torch", "numpy", "scipy", "pynvml"} & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess("--dsr1-profile=cpu-min-latency", "--collect-only", "-q")
    assert result.ret == 0, result.stderr.str()


def test_without_a_selection_nothing_heavy_is_imported(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_light="""
        import sys
        def test_light():
            assert "pytest_dsr1.plugin" in sys.modules
            heavy = {"torch", "transformers", "pynvml", "numpy", "pydantic", "yaml", "psutil"}
            assert not heavy & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_listing_imports_nothing_of_runs(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import sys, pytest
        @pytest.hookimpl(wrapper=True)
        def pytest_cmdline_main():
            status = yield
            rooms = ("case", "gate", "diagnosis", "measurement", "reporting.terminal.plan")
            print("imported:", [room for room in rooms if f"pytest_dsr1.{room}" in sys.modules])
            return status
        """
    )
    result = pytester.runpytest_subprocess("--dsr1-list")
    result.stdout.fnmatch_lines(["cpu-min-latency", "imported: []"])


def test_the_plugin_can_be_switched_off(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-p", "no:dsr1", "--dsr1-list")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unrecognized arguments: --dsr1-list*"])


def test_plan_prints_a_script_and_runs_nothing(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha", "--dsr1-plan")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "# engine transformers, *",
            "# scenario: alpha (*own/alpha.yaml)",
            "# machine: any CPU",
            "# expected: at most 2 s measuring if the targets are met",
            "pytest --dsr1-profile=alpha",
        ]
    )
    assert suites.engine_runs == []


@pytest.mark.parametrize("option", ["--dsr1-list", "--dsr1-plan"])
def test_listing_and_planning_report_mistakes_like_a_run(suites: Suites, option: str) -> None:
    suites.write("gamma", extra="loud: true\n")
    result = suites.run(option, "--dsr1-profile=gamma")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*loud: unknown key*"])


def test_two_files_of_one_name_are_refused(suites: Suites) -> None:
    """Results are kept by name: the second would be judged on the first one's measurement."""
    other = suites.folder.parent / "other.yaml"
    other.write_text((suites.folder / "alpha.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    result = suites.run("own/alpha.yaml", "other.yaml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["*other.yaml: has the same name as *own/alpha.yaml, alpha; *names must be unique within a run*"]
    )
    mixed = suites.run("--dsr1-profile=alpha", "other.yaml")
    assert mixed.ret == pytest.ExitCode.INTERRUPTED
    assert suites.engine_runs == []


@pytest.mark.parametrize("value", ["", " ", ","])
def test_a_profile_of_nothing_is_a_usage_error(suites: Suites, value: str) -> None:
    """An unset variable in a CI file must not turn a gate into a run of nothing."""
    result = suites.run(f"--dsr1-profile={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --dsr1-profile is empty; *"])


@pytest.mark.parametrize(
    "option", ["--dsr1-replay", "--dsr1-results", "--dsr1-site", "--dsr1-suites", "--dsr1-report"]
)
@pytest.mark.parametrize("selected", ["--dsr1-profile=alpha", "--dsr1-list", "test_other.py"])
def test_an_option_without_a_value_is_a_usage_error(suites: Suites, option: str, selected: str) -> None:
    suites.pytester.makepyfile(test_other="def test_other(): pass")
    result = suites.run(selected, f"{option}= ")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option} is empty: give it a value, or remove it"])
    assert suites.engine_runs == []


def test_setting_a_value_of_no_scenario_is_a_usage_error(suites: Suites) -> None:
    suites.pytester.makepyfile("def test_other(): pass")
    result = suites.run("--dsr1-set=load.concurrency=4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --dsr1-set needs a scenario, but none is selected: *"])


def test_a_link_to_a_scenario_is_a_scenario(suites: Suites) -> None:
    (suites.pytester.path / "link.yaml").symlink_to(suites.folder / "alpha.yaml")
    assert collect(suites, "link.yaml")[0] == "link.yaml::environment"


def test_a_link_to_itself_is_an_error(suites: Suites) -> None:
    (suites.pytester.path / "loop.yaml").symlink_to("loop.yaml")
    assert suites.run("loop.yaml").ret == pytest.ExitCode.USAGE_ERROR


def test_a_folder_in_the_place_of_a_scenario(suites: Suites) -> None:
    suites.pytester.mkdir("folder.yaml")
    result = suites.run("folder.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *folder.yaml: is a folder; expected a scenario file"])


def test_listing_shows_the_good_ones_beside_the_mistakes(suites: Suites) -> None:
    suites.write("gamma", extra="loud: true\n")
    result = suites.run("--dsr1-list")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["alpha", "h200-max-throughput"])
    result.stderr.fnmatch_lines(["*gamma.yaml*: loud: unknown key*"])


def test_the_list_is_no_command_to_a_ci_server(suites: Suites) -> None:
    path = suites.write("gamma")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("A scenario of the tests", '"::error ::x"'), encoding="utf-8")
    assert "    : :error ::x" in suites.run("--dsr1-list").outlines


def test_the_plan_repeats_the_options_of_the_run(suites: Suites) -> None:
    options = ("--dsr1-suites=own", "--dsr1-set=load.num_requests=4")
    result = suites.run("--dsr1-profile=alpha", "--dsr1-plan", *options)
    result.stdout.fnmatch_lines(
        ["pytest --dsr1-profile=alpha --dsr1-suites=own --dsr1-set=load.num_requests=4"]
    )
    (suites.pytester.path / "mine.yaml").write_text(
        (suites.folder / "alpha.yaml").read_text(encoding="utf-8").replace("alpha", "mine"), encoding="utf-8"
    )
    result = suites.run("mine.yaml", "--dsr1-plan")
    result.stdout.fnmatch_lines(["pytest */mine.yaml"])


def test_a_site_file_with_a_mistake_stops_the_run_before_it_starts(suites: Suites) -> None:
    site = suites.pytester.path / "site.yaml"
    site.write_text("slurm: {mpu: pmix}", encoding="utf-8")
    result = suites.run("--dsr1-profile=alpha", "--dsr1-site=site.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: site.yaml: 1 mistake in this site file" in result.errlines
    assert "  site.yaml:1:9: slurm.mpu: unknown key (did you mean 'mpi'?)" in result.errlines
    assert suites.engine_runs == []


def test_in_an_allocation_the_site_is_a_fact_of_the_run(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    (suites.pytester.path / "site.yaml").write_text("slurm: {mpi: pmi2}", encoding="utf-8")
    monkeypatch.setenv("DSR1_SITE", "site.yaml")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert suites.run("--dsr1-profile=alpha").ret == 0
    (saved,) = suites.pytester.path.glob(".dsr1/alpha/*/measurement.json")
    facts = json.loads(saved.read_text(encoding="utf-8"))["measurement"]["fingerprint"]["facts"]
    assert facts["slurm.mpi"] == "pmi2"
