"""The report in a real browser, as a reader opens it: from a file, without a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support import report_data
from tests.support.browser import Browser
from tests.support.tiny import PARAMS
from tinylm.base import atomic
from tinylm.experiments.curves import Curve
from tinylm.experiments.overlay import learning_curves
from tinylm.report.inputs import read_run
from tinylm.report.page import build_page

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESKTOP = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}


@pytest.fixture(scope="module")
def browser(browser: Browser) -> webdriver.Chrome:
    return browser.driver


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    report_data.write_run(folder)
    path = folder / "report.html"
    atomic.write_text(path, build_page(read_run(folder), PARAMS.values("train"), None))
    return path.as_uri()


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    """The page, freshly opened at desktop size; after each test, its console must be empty."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESKTOP)
    browser.get_log("performance")
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def one(page: webdriver.Chrome, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def every(page: webdriver.Chrome, selector: str) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, selector)


def requested_urls(page: webdriver.Chrome) -> list[str]:
    """Return the URLs that the browser requested since the log was last read."""
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in requests]


def phone(page: webdriver.Chrome, width: int = 390) -> None:
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": width})
    page.refresh()


def tap(page: webdriver.Chrome, target: WebElement) -> None:
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    box: dict[str, Any] = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", target)
    spot = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [spot]})
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_it_requests_nothing_but_itself(page: webdriver.Chrome, address: str) -> None:
    assert [url for url in requested_urls(page) if not url.startswith("data:")] == [address]


def test_it_could_not_reach_the_network_if_it_tried(page: webdriver.Chrome) -> None:
    tried = "fetch('http://127.0.0.1:9/').then(() => arguments[0]('reached'), () => arguments[0]('refused'))"
    assert page.execute_async_script(tried) == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_every_chart_has_its_lines_and_axes(page: webdriver.Chrome) -> None:
    drawn = {figure.get_attribute("data-chart"): figure for figure in every(page, ".chart")}
    assert set(drawn) == {"loss", "rate", "norm", "position", "calibration", "by_step_0", "by_step_1"} | {
        "by_temperature_0",
        "by_temperature_1",
    }
    for name, figure in drawn.items():
        lines = figure.find_elements(By.CSS_SELECTOR, ".plot .line path")
        assert lines, name
        assert all("L" in (line.get_attribute("d") or "") for line in lines), name
        assert "NaN" not in (figure.get_attribute("innerHTML") or "")
        assert len(figure.find_elements(By.CSS_SELECTOR, ".axes text")) >= 4, name
    loss = [line.get_attribute("class") for line in drawn["loss"].find_elements(By.CSS_SELECTOR, ".plot .line")]
    assert loss == ["line thin", "line strong", "line dashed"]


def test_a_chart_shows_the_values_under_the_pointer(page: webdriver.Chrome) -> None:
    plot, legend = one(page, "[data-chart=loss] .plot"), one(page, "[data-chart=loss] .readout")
    assert legend.text.replace("\n", " ") == "step 12 training 2.2 validation 1.25 uniform guess 6.2"
    ActionChains(page).move_to_element(plot).perform()
    assert legend.text.replace("\n", " ") == "step 6 training 4.2 validation 4.2 uniform guess 6.2"
    assert every(page, "[data-chart=loss] .cursor line")
    plot.send_keys(Keys.ARROW_LEFT)
    assert "step 5" in legend.text
    assert "validation 4.2 at 6" in (plot.get_attribute("aria-valuetext") or "")
    plot.send_keys(Keys.HOME)
    assert "step 0" in legend.text


def test_the_loss_is_logarithmic_or_linear(page: webdriver.Chrome) -> None:
    def path() -> str | None:
        return one(page, "[data-chart=loss] .plot .strong path").get_attribute("d")

    logarithmic = path()
    buttons = every(page, "[data-chart=loss] [aria-label='y axis scale'] button")
    buttons[1].click()
    linear = path()
    assert linear != logarithmic
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["false", "true"]


def test_the_loss_is_over_steps_or_tokens(page: webdriver.Chrome) -> None:
    plot, legend = one(page, "[data-chart=loss] .plot"), one(page, "[data-chart=loss] .readout")
    every(page, "[data-chart=loss] [aria-label='x axis'] button")[1].click()
    assert legend.text.replace("\n", " ") == "tokens 3,072 training 2.2 validation 1.25 uniform guess 6.2"
    assert plot.get_attribute("aria-label") == "Loss, nats per token, over tokens"
    assert one(page, "[data-chart=loss] .axes .name").get_attribute("textContent") == "tokens"


def curve(name: str, factor: float) -> Curve:
    """Return a curve whose step takes `factor` seconds."""
    rows = [
        {
            "step": n,
            "tokens": n * 256,
            "seconds": n * factor,
            "loss": factor * 6 / (n + 1),
            "bits_per_byte": factor * 3 / (n + 1),
        }
        for n in (0, 6, 12)
    ]
    return Curve(name, rows, rows, "t", ("c", 8))


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_several_runs_are_laid_over_each_other(page: webdriver.Chrome, tmp_path: Path, width: int) -> None:
    report_data.write_run(tmp_path)
    names = ["this run", "<b>other</b>", *(f"a-run-with-a-long-name-{n}" * 3 for n in range(2, 8))]
    learning = learning_curves([curve(name, 1 + n) for n, name in enumerate(names)])
    atomic.write_text(tmp_path / "overlaid.html", build_page(read_run(tmp_path), {}, None, learning))
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESKTOP | {"width": width})
    page.get((tmp_path / "overlaid.html").as_uri())
    assert len(every(page, "[data-chart=learning] .plot .line path")) == 16
    keys = [key.text.split("\n")[0] for key in every(page, "[data-chart=learning] .key")]
    assert keys[:2] == ["this run", "<b>other</b>"]
    assert len(keys) == 8
    look = "const s = getComputedStyle(arguments[0]); return `${s.stroke} ${s.strokeDasharray}`"
    looks = [page.execute_script(look, path) for path in every(page, "[data-chart=learning] .plot .strong path")]
    assert len(set(looks)) == 8
    for number, axis in enumerate(("step", "tokens", "seconds")):
        every(page, "[data-chart=learning] [aria-label='x axis'] button")[number].click()
        assert one(page, "[data-chart=learning] .at").text.startswith(axis)
    assert one(page, "[data-chart=learning] .at").text == "seconds 96"
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_slider_goes_from_the_first_checkpoint_to_the_last(page: webdriver.Chrome) -> None:
    slider = one(page, "#checkpoint")
    seen = []
    for _ in range(4):
        seen.append((one(page, ".slide output").text.replace("\n", " "), one(page, ".pile .shown").text))
        assert len(every(page, ".pile .shown")) == 1
        slider.send_keys(Keys.ARROW_RIGHT)
    assert [step for step, _ in seen[:3]] == [
        "Step 0 validation loss 6.2",
        "Step 6 validation loss 4.2",
        "Step 12 validation loss 1.25",
    ]
    assert seen[3] == seen[2]  # the last one
    assert [f"there was step {step}." in story for step, (_, story) in zip((0, 6, 12), seen, strict=False)] == [
        True
    ] * 3
    assert seen[0][1].endswith("[…]")
    assert "</script><script>alert(1)</script><!-- <img" in seen[0][1]


def test_another_prompt_has_its_own_stories(page: webdriver.Chrome) -> None:
    for choice, story in (("#checkpoint-prompt", ".pile .shown"), ("#token-prompt", ".tokens .story")):
        assert one(page, story).text.startswith("Once upon a time")
        every(page, f"{choice} option")[1].click()
        assert one(page, story).text.startswith('"Help!" said')


def alternatives(page: webdriver.Chrome) -> list[str]:
    return [row.text.replace("\n", " ") for row in every(page, ".tip:not([hidden]) p")]


ALTERNATIVES = ["␣there 50%", "␣there 50%", "␣other0 10%", "␣other1 5%", "␣other2 3.33%", "␣other3 2.5%"]


def test_pointing_at_a_token_shows_its_alternatives(page: webdriver.Chrome) -> None:
    assert alternatives(page) == []
    token = every(page, ".tokens .token")[1]
    ActionChains(page).move_to_element(token).perform()
    assert alternatives(page) == ALTERNATIVES
    assert token.get_attribute("aria-describedby") == one(page, ".tip").get_attribute("id")
    ActionChains(page).move_to_element(one(page, "h1")).perform()
    assert alternatives(page) == []


def test_tokens_can_be_reached_with_the_keyboard(page: webdriver.Chrome) -> None:
    tokens = every(page, ".tokens .token")
    one(page, "#token-prompt").send_keys(Keys.TAB)
    assert page.switch_to.active_element == tokens[0]
    tokens[0].send_keys(Keys.ARROW_RIGHT)
    assert page.switch_to.active_element == tokens[1]
    assert alternatives(page) == ALTERNATIVES
    tokens[1].send_keys(Keys.ESCAPE)
    assert alternatives(page) == []


def test_a_less_likely_token_is_shaded_more(page: webdriver.Chrome) -> None:
    shade = "return getComputedStyle(arguments[0]).backgroundColor"
    colours = [page.execute_script(shade, token) for token in every(page, ".tokens .token")]
    opacity = [float(colour.rstrip(")").split("/")[1]) if "/" in colour else 0.0 for colour in colours]
    assert opacity == sorted(opacity)
    assert opacity[0] == 0
    assert opacity[-1] > 0.1


def test_a_tap_opens_a_token_and_a_tap_elsewhere_closes_it(page: webdriver.Chrome) -> None:
    phone(page)
    tap(page, every(page, ".tokens .token")[1])
    assert alternatives(page) == ALTERNATIVES
    tap(page, one(page, "#words h2"))
    assert alternatives(page) == []


def test_a_press_elsewhere_closes_a_token_that_keeps_the_focus(page: webdriver.Chrome) -> None:
    token = every(page, ".tokens .token")[1]
    page.execute_script("arguments[0].focus()", token)
    assert alternatives(page) == ALTERNATIVES
    page.execute_script("document.body.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}))")
    assert page.switch_to.active_element == token
    assert alternatives(page) == []


@pytest.mark.parametrize("width", [320, 390, 800])
def test_nothing_is_wider_than_the_screen(page: webdriver.Chrome, width: int) -> None:
    phone(page, width)
    for details in every(page, "details summary"):
        details.click()
    for token in every(page, ".tokens .token"):
        page.execute_script("arguments[0].focus()", token)
        box = page.execute_script("return document.querySelector('.tip').getBoundingClientRect().toJSON()")
        assert box["left"] >= 0
        assert box["right"] <= width
    assert page.execute_script("return document.documentElement.scrollWidth") == width


def test_it_follows_the_preferred_color_scheme(page: webdriver.Chrome) -> None:
    colour = "return getComputedStyle(document.body).color"
    seen = []
    for scheme in ("light", "dark"):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        seen.append(page.execute_script(colour))
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert seen == ["rgb(34, 37, 42)", "rgb(227, 225, 220)"]


def test_a_page_of_a_run_with_few_outputs(page: webdriver.Chrome, tmp_path: Path) -> None:
    report_data.write_run(tmp_path)
    for name in ("artifacts/stories/progress.jsonl", "artifacts/stories/probabilities.json"):
        (tmp_path / name).unlink()
    for path in (tmp_path / "plots").glob("[!tv]*.csv"):
        path.unlink()
    atomic.write_text(tmp_path / "report.html", build_page(read_run(tmp_path), {}, None))
    page.get((tmp_path / "report.html").as_uri())
    assert len(every(page, ".chart .plot")) == 3
    assert len(every(page, ".absent")) == 5
