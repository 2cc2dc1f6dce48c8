"""The report for everybody: axe-core's rules, the keyboard alone, a phone, the dark, and colour-blind eyes."""

from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.support import accessibility, report_data
from tests.support.accessibility import SHAPE_CONTRAST, TEXT_CONTRAST, contrast, least_distance, style
from tests.support.browser import Browser, on
from tests.support.tiny import PARAMS
from tinylm.base import atomic
from tinylm.report.baseline import Baseline
from tinylm.report.inputs import read_run
from tinylm.report.page import build_page

BEFORE = Baseline("0123456789abcdef", "Before", report_data.score(1.25) | {"accuracy": 0.63})  # better and worse
LINES = [f"[data-chart=loss] .plot .{name} path" for name in ("thin", "strong", "dashed")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    report_data.write_run(folder)
    path = folder / "report.html"
    atomic.write_text(path, build_page(read_run(folder), PARAMS.values("train", "model"), BEFORE))
    return path.as_uri()


@pytest.fixture
def page(browser: Browser, address: str, look: tuple[int, int, bool]) -> Browser:
    browser.resize(*look[:2], dark=look[2])
    browser.driver.get(address)
    return browser


def every(page: Browser, selector: str) -> list[WebElement]:
    return page.driver.find_elements("css selector", selector)


def active(page: Browser) -> WebElement:
    return page.driver.switch_to.active_element


def press(page: Browser, *keys: str) -> None:
    ActionChains(page.driver).send_keys(*keys).perform()


def test_it_keeps_the_rules_of_axe(page: Browser) -> None:
    assert accessibility.findings(page) == []
    page.driver.execute_script("for (const details of document.querySelectorAll('details')) details.open = true")
    page.driver.execute_script("arguments[0].focus()", every(page, ".tokens .token")[2])
    assert every(page, ".tip")[0].is_displayed()
    assert accessibility.findings(page) == []
    assert page.overflow() == 0


def test_what_axe_cannot_measure_has_contrast(page: Browser) -> None:
    paper = style(page, "html", "backgroundColor")
    for text in ("[data-chart=loss] .axes text", "[data-chart=loss] .axes .name"):
        assert contrast(style(page, text, "fill"), paper) >= TEXT_CONTRAST
    for line in LINES:
        assert contrast(style(page, line, "stroke"), paper) >= SHAPE_CONTRAST
    assert contrast(style(page, ".share rect", "fill"), paper) >= SHAPE_CONTRAST
    assert contrast(style(page, "select", "borderTopColor"), paper) >= SHAPE_CONTRAST
    pressed, other = (f".choice button[aria-pressed={state}]" for state in ("true", "false"))
    assert contrast(style(page, pressed, "backgroundColor"), paper) >= SHAPE_CONTRAST
    assert style(page, other, "backgroundColor") == "rgba(0, 0, 0, 0)"


@on("desktop", "dark phone")
def test_colour_blind_readers_can_tell_the_colours_apart(page: Browser) -> None:
    assert least_distance(style(page, line, "stroke") for line in LINES) >= 20
    assert least_distance(style(page, change, "color") for change in (".better", ".worse")) >= 20


@on("desktop", "phone", "small phone")
def test_the_tab_key_reaches_every_control(page: Browser) -> None:
    page.driver.execute_script("for (const details of document.querySelectorAll('details')) details.open = true")
    stops = accessibility.tab_stops(page)
    assert [stop.tag_name for stop in stops[:13]] == ["a"] * 8 + ["button"] * 4 + ["svg"]
    assert {stop.get_attribute("id") for stop in stops} >= {"checkpoint-prompt", "checkpoint", "token-prompt"}
    assert [stop.tag_name for stop in stops[-2:]] == ["summary", "summary"]
    named = [stop for stop in stops if not (stop.accessible_name or stop.get_attribute("class") == "token")]
    assert [stop.get_attribute("outerHTML") for stop in named] == []


@on("desktop")
class TestKeyboard:
    def test_the_scale_of_a_chart(self, page: Browser) -> None:
        linear = every(page, "[aria-label='y axis scale'] button")[1]
        page.driver.execute_script("arguments[0].focus()", linear)
        press(page, Keys.SPACE)
        assert linear.get_attribute("aria-pressed") == "true"

    def test_what_a_screen_reader_says_of_a_chart(self, page: Browser) -> None:
        plot = every(page, "[data-chart=loss] .plot")[0]
        plot.send_keys(Keys.ARROW_LEFT)
        assert (
            plot.get_attribute("aria-valuetext") == "step 11, training 2.533, validation 1.25 at 12, uniform guess 6.2"
        )
        assert plot.accessible_name == "Loss, nats per token, over step"

    def test_the_checkpoints(self, page: Browser) -> None:
        slider = every(page, "#checkpoint")[0]
        assert (slider.accessible_name, slider.get_attribute("aria-valuetext")) == (
            "Checkpoint",
            "Step 0 validation loss 6.2",
        )
        slider.send_keys(Keys.END)
        assert slider.get_attribute("aria-valuetext") == "Step 12 validation loss 1.25"

    def test_the_arrows_go_from_token_to_token_and_from_line_to_line(self, page: Browser) -> None:
        tokens = every(page, ".tokens .token")
        assert [token.text for token in tokens[:3]] == ["Once upon a time", " there", " was"]
        tops = [token.rect["y"] for token in tokens]
        assert tops[0] == tops[2] < tops[4]  # tokens[3] ends the line
        tokens[0].send_keys(Keys.ARROW_RIGHT)
        assert active(page) == tokens[1]
        press(page, Keys.ARROW_DOWN)
        assert active(page) == tokens[4]
        press(page, Keys.ARROW_UP)
        above = active(page)
        assert above.rect["y"] == tops[0]
        press(page, Keys.ARROW_UP)  # there is no other line
        assert active(page) == above
        press(page, Keys.END)
        assert active(page) == tokens[-1]
        press(page, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
        assert active(page) == tokens[-1]
        press(page, Keys.HOME)
        assert active(page) == tokens[0]

    def test_only_the_open_token_is_described(self, page: Browser) -> None:
        tokens = every(page, ".tokens .token")
        tokens[0].send_keys(Keys.ARROW_RIGHT)
        assert every(page, "[aria-describedby=token-tip]") == [tokens[1]]
        press(page, Keys.ESCAPE)
        assert every(page, "[aria-describedby=token-tip]") == []

    def test_the_parameters(self, page: Browser) -> None:
        details = every(page, "details")[0]
        page.driver.execute_script("arguments[0].focus()", details.find_element("css selector", "summary"))
        press(page, Keys.ENTER)
        assert details.get_attribute("open") is not None


def test_plots_of_a_row_are_level(page: Browser, tmp_path: Path) -> None:
    """Also if one of them has a longer legend."""
    report_data.write_run(tmp_path)
    table = tmp_path / "plots/stories_by_step.csv"
    table.write_text(table.read_text().replace("0.25,,0.75", "0.0123456,,0.0123456").replace("1.0,,", "0.01234,,"))
    path = tmp_path / "report.html"
    atomic.write_text(path, build_page(read_run(tmp_path), {}, None))
    page.driver.get(path.as_uri())
    for group in (".small", ".pair"):
        tops: dict[float, set[float]] = {}  # of the plots, by the top of their figures
        for figure in every(page, f"{group} .chart"):
            plot = figure.find_element("css selector", ".plot")
            tops.setdefault(figure.rect["y"], set()).add(plot.rect["y"])
        assert all(len(level) == 1 for level in tops.values())


@on("desktop", "phone", "small phone")
def test_no_text_of_a_chart_covers_another(page: Browser) -> None:
    overlapping = """const boxes = [...arguments[0].querySelectorAll("figcaption, .readout > span")].map((text) => {
        const range = document.createRange();
        range.selectNodeContents(text);
        return range.getBoundingClientRect();
    });
    return boxes.some((a, n) => boxes.some((b, m) => n < m
        && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1))"""
    for figure in every(page, ".chart"):
        assert not page.driver.execute_script(overlapping, figure), figure.text
