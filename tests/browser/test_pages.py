"""The pages as people meet them: in a browser, on a phone, in the dark, by keyboard, on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from pytest_dsr1.case.case import Case, case_of
from pytest_dsr1.gate.history import history
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.reporting.charts.history import ReportContext, shipped_points
from pytest_dsr1.reporting.compare.comparison import compare
from pytest_dsr1.reporting.html.render import write_comparison, write_html
from tests.helpers.browser import Opened
from tests.helpers.saved_runs import Made, judged, references, save
from tests.helpers.values import NOISE, changed

NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
RUN = Made(waves=4, concurrency=64)
MADE = (
    replace(RUN, speed=0.9, day=5),
    Made("h200/min-latency", waves=10, concurrency=1, day=5.5),
    replace(RUN, suite="b200/max-throughput", throttled=(5, 0.2, 0.4), day=6),
    replace(RUN, suite="b200/max-throughput-0528-fp8kv", speed=1.1, day=7),
    Made("cpu/min-latency", waves=10, concurrency=1, day=8),
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'\x00\x1b\u202e" + "x" * 10_000

Look = Callable[..., Opened]


def made_cases(folder: Path) -> list[Case]:
    for day in range(4):
        save(folder / "results", replace(RUN, day=day, seed=day + 3))
    runs = [save(folder / "results", made) for made in MADE]
    steady = 10_900.0
    references(folder / "store", runs[0].scenario, runs[0].fingerprint, [steady + 30 * i for i in range(16)])
    store, past = folder / "store", history(folder / "results")
    made_runs = zip(runs, MADE, strict=True)
    return [case_of(judged(run, made, store), store, NOW, past) for run, made in made_runs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``report.html`` is of five scenarios, ``many.html`` of thirty."""
    folder = tmp_path_factory.mktemp("pages")
    cases = made_cases(folder)
    published = shipped_points()
    background = ReportContext(history(folder / "results"), published, NOW)
    write_html(folder / "report.html", cases, background)
    write_html(folder / "many.html", cases * 6, background)
    write_html(folder / "one.html", cases[:1], background)
    measured = cases[0].run.measurement
    assert measured is not None
    facts = Fingerprint({**measured.fingerprint.facts, "gpu.name": HOSTILE, HOSTILE: HOSTILE})
    hostile = changed(
        cases[0],
        scenario=cases[0].scenario.model_copy(update={"name": HOSTILE, "description": HOSTILE}),
        headline=HOSTILE,
        problem=HOSTILE,
        scenario_warnings=(HOSTILE,),
        measurement=replace(measured, fingerprint=facts),
    )
    write_html(folder / "hostile.html", [hostile, *cases], background)
    pair = [measured, replace(measured, started_utc="2026-11-25T09:00:00+00:00", fingerprint=facts)]
    write_comparison(folder / "compare.html", compare(pair, lambda _: NOISE), pair)
    long_name = replace(RUN, suite="b200/max-throughput-0528-fp8kv")
    mades = [*(replace(long_name, day=day) for day in range(3)), Made("h200/min-latency", concurrency=1)]
    four = [save(folder / "results", made) for made in mades]
    write_comparison(folder / "four.html", compare(four, lambda _: NOISE), four)
    return folder


PAGES = ("report", "many", "one", "hostile", "compare", "four")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_every_picture_is_drawn_and_nothing_complains(
    folder: Path, look: Look, screenshots: Path, name: str, width: int, dark: bool
) -> None:
    opened = look(folder / f"{name}.html", width=width, dark=dark)
    page = opened.page
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    sizes = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(svg => [svg.getBoundingClientRect().width, "
        'svg.querySelectorAll(\'[stroke^="var(--"], [fill^="var(--"]\').length])'
    )
    assert len(sizes) >= 4
    assert all(size > 250 and marks > 0 for size, marks in sizes)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=screenshots / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    assert opened.complaints == []
    assert opened.asked == [(folder / f"{name}.html").as_uri()]


BROKEN_WORDS = """() => {
    const broken = [];
    for (const cell of document.querySelectorAll("th, td")) {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            for (const word of texts.currentNode.data.matchAll(/[^-\\s/]+/g)) {
                const range = document.createRange();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                if (range.getClientRects().length > 1) broken.push(word[0]);
            }
        }
    }
    return broken;
}"""
OUT_OF_SIGHT = """() => [
    ...[...document.querySelectorAll(".scroll")].filter(part => part.scrollWidth > part.clientWidth),
    ...[...document.querySelectorAll("svg text")].filter(
        text => text.getBoundingClientRect().right > text.closest("svg").getBoundingClientRect().right
    ),
].map(each => each.textContent)"""


CROSSED = """() => {
    const box = element => element.getBoundingClientRect();
    const meet = (a, b) => a.right > b.left && b.right > a.left && a.bottom > b.top && b.bottom > a.top;
    return [...document.querySelectorAll("figure svg")].flatMap(svg => {
        const lines = [...svg.querySelectorAll(".mark-line path")].map(box);
        const texts = [...svg.querySelectorAll(".mark-text.role-mark text")];
        return texts.filter(text => lines.some(line => meet(line, box(text)))).map(text => text.textContent);
    });
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_no_line_crosses_what_is_written(folder: Path, look: Look, width: int) -> None:
    page = look(folder / "report.html", width=width).page
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.locator("svg text", has_text="dashed: target").count() >= 2
    assert page.evaluate(CROSSED) == []


A4, LETTER = 703, 725
"""What margins of 1.2 cm leave of the width of a sheet, in CSS pixels."""


@pytest.mark.parametrize(
    ("media", "width"),
    [("screen", 1100), ("screen", 900), ("screen", 768), ("screen", 390), ("print", A4), ("print", LETTER)],
)
@pytest.mark.parametrize("name", ["report", "four"])
def test_tables_and_pictures_are_read_without_scrolling(
    folder: Path, look: Look, name: str, media: Literal["screen", "print"], width: int
) -> None:
    page = look(folder / f"{name}.html", width=width).page
    page.emulate_media(media=media)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate(BROKEN_WORDS) == []
    assert page.evaluate(OUT_OF_SIGHT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(
    ("name", "media", "width", "cell"),
    [
        ("report", "print", A4, "td[data-label=published]"),
        ("report", "screen", 768, "td[data-label=target]"),
        ("four", "screen", 390, ".metrics td[data-result*=b200-max-throughput]"),
    ],
)
def test_what_stands_below_each_other_says_what_it_is(
    folder: Path, look: Look, name: str, media: Literal["screen", "print"], width: int, cell: str
) -> None:
    page = look(folder / f"{name}.html", width=width).page
    page.emulate_media(media=media)
    said = page.locator(cell).first.evaluate(
        "cell => [getComputedStyle(cell, '::before').content, cell.dataset.label || cell.dataset.result]"
    )
    assert said[0] == f'"{said[1]}"'


@pytest.mark.parametrize("width", [1100, 390])
def test_the_legend_of_four_results_has_their_names(folder: Path, look: Look, width: int) -> None:
    page = look(folder / "four.html", width=width).page
    for name in page.locator("table").first.locator("tbody th").all_text_contents():
        assert page.locator("figure").first.locator("svg text", has_text=name).count() == 1


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(folder: Path, look: Look, name: str, dark: bool) -> None:
    page = look(folder / f"{name}.html", dark=dark).page
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = Axe().run(page).response["violations"]
    serious = [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
    assert serious == []


def shown(opened: Opened) -> list[str]:
    articles = opened.page.locator("article:visible h2")
    return [text or "" for text in articles.all_text_contents()]


def test_filters(folder: Path, look: Look) -> None:
    opened = look(folder / "report.html")
    page = opened.page
    assert len(shown(opened)) == 5
    page.get_by_role("button", name="INVALID (1)").click()
    assert shown(opened) == ["b200-max-throughput"]
    assert page.locator("table.summary tbody tr:visible").count() == 1
    assert page.get_by_role("button", name="INVALID (1)").get_attribute("aria-pressed") == "true"
    assert page.get_by_role("status").text_content() == "1 shown"
    page.get_by_role("button", name="All").click()
    page.get_by_role("searchbox").fill("min-LAT")
    assert shown(opened) == ["h200-min-latency", "cpu-min-latency"]
    page.get_by_role("searchbox").fill("no such")
    assert page.get_by_role("status").text_content() == "0 shown"


def test_links_lead_to_what_is_folded(folder: Path, look: Look) -> None:
    opened = look(folder / "many.html")
    page = opened.page
    passed = page.locator("table.summary tr[data-status=PASS] a").first
    target = (passed.get_attribute("href") or "")[1:]
    details = page.locator(f"#{target} > details")
    assert details.get_attribute("open") is None
    passed.click()
    expect(details).to_have_attribute("open", "")  # waits: the page hears of the link after the click
    expect(page.locator(f"#{target} h2")).to_be_in_viewport()


def test_an_artifact_opens(folder: Path, look: Look) -> None:
    page = look(folder / "one.html").page
    page.get_by_text("Saved files").click()
    page.get_by_role("link", name="measurement.json").click()
    page.wait_for_url("**/measurement.json")
    assert '"profile": "h200-max-throughput"' in (page.text_content("body") or "")


def test_by_keyboard(folder: Path, look: Look) -> None:
    opened = look(folder / "report.html")
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "FAIL (2)"
    page.keyboard.press("Enter")
    assert len(shown(opened)) == 2


def test_without_javascript_all_is_there(folder: Path, look: Look) -> None:
    opened = look(folder / "report.html", javascript=False)
    assert len(shown(opened)) == 5
    assert opened.page.locator(".filters:visible").count() == 0
    pictures = opened.page.locator("article:first-of-type figure svg:visible")
    seen = pictures.count()
    assert seen >= 4
    opened.page.locator("article:first-of-type summary", has_text="More pictures").click()
    assert pictures.count() >= max(8, seen + 4)


def test_on_paper_everything_is_unfolded(folder: Path, look: Look) -> None:
    page = look(folder / "many.html").page
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".filters:visible").count() == 0
    assert page.pdf()[:5] == b"%PDF-"
