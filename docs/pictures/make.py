"""Makes the pictures of the documentation with a real Chromium (``tox run -e browser`` brings playwright).

.tox/browser/bin/python -m docs.pictures.make
    those of docs/reference/results.md, of made-up runs
.tox/browser/bin/python -m docs.pictures.make RESULT ...
    those of README.md, of saved results, the first of which is one of a gate: the page's top, and the gate's
    runs against the references in ``dsr1-references``
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.case.case import Case, case_of
from pytest_dsr1.gate.history import History, history
from pytest_dsr1.measurement.store import load
from pytest_dsr1.reporting.charts.history import ReportContext, shipped_points
from pytest_dsr1.reporting.compare.comparison import compare
from pytest_dsr1.reporting.html.render import write_comparison, write_html
from pytest_dsr1.scenario.loading import load as load_scenario
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.verdict.targets import Noise, judge
from tests.helpers.saved_runs import Made, judged, references, save, steady

if TYPE_CHECKING:
    from playwright.sync_api import Page

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
WIDTH, MARGIN = 1100, 6
FULL = Made(concurrency=1024, waves=5, seed=4)
NOISE = Noise(1.0)


def background(results: Path) -> ReportContext:
    """The runs below the folder, and what was published."""
    published = shipped_points()
    return ReportContext(history(results), published, NOW)


def made_up(folder: Path) -> list[Case]:
    """A suite with a miss, a pass, a throttled machine and another pass, with a history and references."""
    results, store = folder / "results", folder / "store"
    for day in range(5):
        save(results, replace(FULL, speed=1.05, day=day, seed=day + 20, sample_s=5.0))
    mades = [
        replace(FULL, speed=0.98, day=6),
        Made("h200/min-latency", concurrency=1, waves=10, speed=1.01, day=6.2, sample_s=0.5),
        Made(
            "b200/max-throughput", concurrency=3072, waves=3, throttled=(5, 0.2, 0.33), day=6.4, sample_s=5.0
        ),
        Made("cpu/min-latency", concurrency=1, waves=10, speed=1.1, day=6.6),
    ]
    runs = [save(results, made) for made in mades]
    level = steady(runs[0]) / 0.94
    references(
        store, runs[0].scenario, runs[0].fingerprint, [level * (1 + 0.001 * (i % 5)) for i in range(16)]
    )
    past, made_runs = history(results), zip(runs, mades, strict=True)
    return [case_of(judged(run, made, store), store, NOW, past) for run, made in made_runs]


def saved(folders: Sequence[Path], past: History) -> list[Case]:
    """The cases of saved results, judged by the targets they were judged by; a gate may have had none."""
    cases = []
    for folder in folders:
        measurement = load(folder)
        outcome = ScenarioOutcome(
            load_scenario(folder / "scenario.yaml"), measurement.test_id_prefix, measurement=measurement
        )
        targets = measurement.scenario.targets if (folder / "verdicts.json").exists() else ()
        outcome.verdicts += [judge(target, measurement, NOISE) for target in targets]
        cases.append(case_of(outcome, Path("dsr1-references"), NOW, past))
    return cases


def shoot(page: Page, html: Path, selectors: Sequence[tuple[str, str]]) -> None:
    """A picture of each element of a page, by file name and CSS selector."""
    page.goto(html.as_uri())
    for name, selector in selectors:
        page.locator(selector).first.screenshot(path=HERE / name)
        print(HERE / name, (HERE / name).stat().st_size)


def main(arguments: Sequence[str]) -> None:
    """Make the pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--hide-scrollbars"]
        )
        page = chromium.new_page(viewport={"width": WIDTH, "height": 820})
        if arguments:
            found = [Path(argument).resolve() for argument in arguments]
            context = background(found[0].parent.parent)
            write_html(folder / "report.html", saved(found, context.history), context)
            page.goto((folder / "report.html").as_uri())
            page.add_style_tag(content=".pictures { align-items: start }")
            answers = page.locator("#scenario-1 dl").bounding_box()
            assert answers is not None, "the first result is one of a gate that did not pass"
            page.screenshot(
                path=HERE / "readme.png",
                full_page=True,
                clip={"x": 0, "y": 0, "width": WIDTH, "height": answers["y"] + answers["height"] + MARGIN},
            )
            against = page.locator("figure").filter(has_text="Against the reference runs")
            against.first.screenshot(path=HERE / "readme-gate.png")
            return
        cases = made_up(folder)
        write_html(folder / "report.html", cases, background(folder / "results"))
        page.goto((folder / "report.html").as_uri())
        page.screenshot(path=HERE / "report-top.png")
        shoot(page, folder / "report.html", [("report-pictures.png", "#scenario-1 .pictures")])
        new, old = (
            cases[0].run.measurement,
            load(sorted((folder / "results" / "h200-max-throughput").iterdir())[0]),
        )
        assert new is not None
        write_comparison(folder / "compare.html", compare([old, new], lambda _: NOISE), [old, new])
        shoot(page, folder / "compare.html", [("compare.png", ".pictures")])


if __name__ == "__main__":
    main(sys.argv[1:])
