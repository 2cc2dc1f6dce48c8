"""The page of `serve` for everybody: axe-core's rules, the keyboard alone, a phone, and the dark."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.serve.test_page import Page
from tests.support import accessibility
from tests.support.accessibility import SHAPE_CONTRAST, contrast, style
from tests.support.browser import Browser, on
from tests.support.serving import Gate, gated, serving
from tinylm.sampling.streaming import TextGenerator


@pytest.fixture
def page(browser: Browser, generator: TextGenerator, look: tuple[int, int, bool]) -> Iterator[Page]:
    browser.resize(*look[:2], dark=look[2])
    with serving(generator) as address:
        yield Page(browser, address)
        browser.driver.get("about:blank")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with gated(monkeypatch) as gate:
        yield gate


def press(page: Page, *keys: str) -> None:
    ActionChains(page.browser.driver).send_keys(*keys).perform()


def focused(page: Page) -> str | None:
    """Return the id of the element that has the focus."""
    return page.browser.driver.switch_to.active_element.get_attribute("id")


def go_to(page: Page, name: str) -> None:
    """Press Tab until this element has the focus."""
    for _ in range(accessibility.MOST_STOPS):
        if focused(page) == name:
            return
        press(page, Keys.TAB)
    raise AssertionError(f"the Tab key does not reach {name}")


def test_it_keeps_the_rules_of_axe(page: Page, gate: Gate) -> None:
    assert accessibility.findings(page.browser) == []  # before a story
    page.browser.driver.execute_script("document.getElementById('settings').open = true")
    page.write("Tom", 4)
    gate.let_through(8)
    page.until(lambda: len(page.content("text")) > 2)
    assert accessibility.findings(page.browser) == []  # during a story
    gate.open()
    page.until(page.is_done)
    assert accessibility.findings(page.browser) == []  # after a story
    page.type("seed", "-1")
    page.find("write").click()
    page.until(lambda: page.find("problem").is_displayed())
    assert accessibility.findings(page.browser) == []  # with an error
    assert page.browser.overflow() == 0


def test_the_edges_of_controls_have_contrast(page: Page) -> None:
    paper = style(page.browser, "body", "backgroundColor")
    for control in ("textarea", "#stop", ".example", "#seed"):
        assert contrast(style(page.browser, control, "borderTopColor"), paper) >= SHAPE_CONTRAST


@on("desktop", "phone")
def test_the_tab_key_reaches_every_control(page: Page) -> None:
    page.browser.driver.execute_script("document.getElementById('settings').open = true")
    stops = accessibility.tab_stops(page.browser)
    names = [stop.get_attribute("id") or stop.tag_name for stop in stops]
    settings = ["summary", "temperature", "top_p", "top_k", "max_tokens", "seed"]
    assert names == ["prompt", *["button"] * 5, "write", *settings]
    assert all(stop.accessible_name for stop in stops)


@on("desktop")
class TestKeyboard:
    def test_a_story_from_start_to_stop(self, page: Page, gate: Gate) -> None:
        go_to(page, "seed")
        press(page, "7")
        page.browser.driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
        go_to(page, "write")
        press(page, Keys.ENTER)
        gate.let_through(4)
        page.until(lambda: len(page.content("text")) > 0)
        assert focused(page) == "stop"  # `write` is disabled, and the focus must not get lost
        press(page, Keys.ENTER)
        page.until(lambda: page.content("status") == "Stopped · seed 7")
        page.until(lambda: page.find("write").is_enabled())
        assert focused(page) == "write"

    def test_control_enter_starts_and_escape_stops(self, page: Page, gate: Gate) -> None:
        page.type("seed", "7")  # with a random one, four tokens may be no whole character
        go_to(page, "prompt")
        press(page, Keys.END, " there")
        ActionChains(page.browser.driver).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
        gate.let_through(4)
        page.until(lambda: len(page.content("text")) > 0)
        assert page.content("begun") == "Once upon a time there"
        assert focused(page) == "prompt"
        press(page, Keys.ESCAPE)
        page.until(lambda: page.content("status").startswith("Stopped"))

    def test_escape_does_nothing_without_a_story(self, page: Page) -> None:
        press(page, Keys.ESCAPE)
        assert page.content("status") == ""
        assert page.find("write").is_enabled()


@on("desktop", "phone")
def test_a_mistake_is_shown_where_it_is(page: Page) -> None:
    """Also in the settings, which are closed on a phone."""
    script = "document.getElementById('settings').open = false; document.getElementById('seed').value = -1"
    page.browser.driver.execute_script(script)
    page.find("write").click()
    page.until(lambda: page.find("problem").is_displayed())
    assert focused(page) == "seed"
    assert page.find("seed").is_displayed()
    assert page.find("seed").get_attribute("aria-invalid") == "true"
    page.type("seed", "1")
    page.find("write").click()
    page.until(page.is_done)
    assert page.find("seed").get_attribute("aria-invalid") is None
    assert not page.find("problem").is_displayed()


@on("desktop")
def test_every_setting_is_explained(page: Page) -> None:
    for name in ("temperature", "top_p", "top_k", "max_tokens", "seed"):
        explanation = page.find(page.find(name).get_attribute("aria-describedby") or "")
        assert explanation.text.endswith(".")
