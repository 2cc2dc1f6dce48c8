"""The page in a real browser: what a user types, sees and stops."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from selenium.webdriver.remote.webelement import WebElement

from tests.serve.test_server import events_of, story_alone, visit
from tests.support import fork_server, tiny
from tests.support.browser import DESKTOP, PHONE, Browser
from tests.support.serving import Gate, gated, serving
from tinylm.sampling import streaming
from tinylm.sampling.streaming import TextGenerator

MARKUP = "<script>alert(1)</script><b>&amp;</b> 😀 é\n漢"


class Page:
    """The page as a user sees it."""

    def __init__(self, browser: Browser, address: str):
        self.browser, self.address = browser, address
        browser.driver.get(address)
        self.until(lambda: self.find("write").is_enabled())

    def find(self, name: str) -> WebElement:
        return self.browser.driver.find_element("id", name)

    def content(self, name: str) -> str:
        """Return the exact text of an element; Selenium's `.text` is only its visible text."""
        return self.find(name).get_property("textContent")

    def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.content('status')!r}, {self.content('problem')!r}"
            time.sleep(0.02)

    def type(self, name: str, value: str) -> None:
        self.find(name).clear()
        if value.isascii():
            self.find(name).send_keys(value)
        else:  # chromedriver cannot type characters beyond the Basic Multilingual Plane
            self.browser.driver.execute_script("arguments[0].value = arguments[1]", self.find(name), value)

    def write(self, prompt: str, seed: int) -> None:
        self.type("prompt", prompt)
        self.type("seed", str(seed))
        self.find("write").click()

    def is_done(self) -> bool:
        return "tokens/s" in self.content("status")


@pytest.fixture
def browser(browser: Browser) -> Iterator[Browser]:
    """The browser; after each test, no page may have logged an error or sent a request to another machine."""
    browser.resize(*DESKTOP)
    browser.forget()
    yield browser
    refused = [message for message in browser.console_errors() if "/stories" not in message]  # 400, 503: expected
    assert refused == []
    assert browser.requested_urls()
    assert all(url.startswith("http://127.0.0.1:") for url in browser.requested_urls())


@pytest.fixture
def page(browser: Browser, generator: TextGenerator) -> Iterator[Page]:
    with serving(generator) as address:
        yield Page(browser, address)
        browser.driver.get("about:blank")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with gated(monkeypatch) as gate:
        yield gate


def test_a_story_is_streamed_and_equals_that_of_the_command_line(
    page: Page, gate: Gate, tiny_model: Path, tmp_path: Path
) -> None:
    page.write("Lily 😀", 11)
    page.until(lambda: page.content("begun") == "Lily 😀")
    lengths = [0]
    for _ in range(3):
        gate.let_through(8)
        page.until(lambda: len(page.content("text")) > lengths[-1])
        lengths.append(len(page.content("text")))
    assert page.find("story").get_attribute("aria-busy") == "true"
    gate.open()
    page.until(page.is_done)
    assert page.find("story").get_attribute("aria-busy") == "false"
    assert "seed 11" in page.content("status")
    command = [fork_server.python(), "-m", "tinylm", "write", "Lily 😀", "--model", str(tiny_model), "--seed", "11"]
    environ = os.environ | {"PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"}
    options = ["--top-p", "0.9", "--max-tokens", "60"]
    done = subprocess.run([*command, *options], cwd=tmp_path, env=environ, capture_output=True, check=True)
    assert page.content("begun") + page.content("text") == done.stdout.decode().removesuffix("\n")


def test_markup_stays_text(page: Page) -> None:
    page.write(MARKUP, 1)
    page.until(page.is_done)
    assert page.content("begun") == MARKUP
    assert page.browser.driver.find_elements("css selector", "#story script, #story b") == []


def test_markup_that_the_model_generates_stays_text(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming.StoryStream, "__iter__", lambda _: iter([MARKUP]))
    page.write("Tom", 1)
    page.until(page.is_done)
    assert page.content("text") == MARKUP
    assert page.browser.driver.find_elements("css selector", "#story script, #story b") == []


def test_stop(page: Page, generator: TextGenerator, gate: Gate) -> None:
    page.write("Tom", 4)
    gate.let_through(12)
    page.until(lambda: len(page.content("text")) > 3)
    page.find("stop").click()
    page.until(lambda: page.content("status") == "Stopped · seed 4")
    shown = page.content("text")
    assert gate.jobs[0].abandoned.wait(20)
    gate.open()
    page.until(lambda: page.find("write").is_enabled())
    assert page.content("text") == shown
    assert gate.drawn <= 14
    assert not page.find("stop").is_enabled()
    page.write("Ann", 5)  # the queue is free again
    page.until(page.is_done)
    assert page.content("begun") + page.content("text") == story_alone(generator, "Ann", 5)


def test_settings_reach_the_model(page: Page, generator: TextGenerator) -> None:
    for name, value in (("temperature", "0"), ("top_p", "1")):
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        page.browser.driver.execute_script(script, page.find(name), value)
    assert (page.content("temperature-value"), page.content("top_p-value")) == ("0.00", "all")
    page.type("top_k", "7")
    page.type("max_tokens", "20")
    page.write("Tom", 1)
    page.until(page.is_done)
    first = page.content("text")
    assert "Cut off at the maximum length after 20 tokens" in page.content("status")
    page.write("Tom", 2)
    page.until(lambda: page.is_done() and "seed 2" in page.content("status"))
    assert page.content("text") == first  # temperature 0 draws nothing


def test_a_random_seed_can_be_kept(page: Page) -> None:
    page.find("write").click()
    page.until(page.is_done)
    story = page.content("story")
    page.find("again").click()
    assert f"seed {page.find('seed').get_property('value')}" in page.content("status")
    page.find("write").click()
    page.until(page.is_done)
    assert page.content("story") == story


def test_an_example_fills_in_the_prompt(page: Page) -> None:
    page.browser.driver.find_elements("class name", "example")[2].click()
    assert page.find("prompt").get_property("value") == "There was a small"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("prompt", "x" * 70, "prompt: expected fewer than 60 tokens (the longest story), got 70; raise max_tokens"),
        ("seed", "-1", "seed: expected at least 0, got -1"),
        ("top_k", "1.5", "top_k: expected a whole number, got 1.5"),
        ("max_tokens", "", "max_tokens: expected a whole number, got null"),
    ],
)
def test_a_mistake_is_shown(page: Page, name: str, value: str, message: str) -> None:
    page.type(name, value)
    page.find("write").click()
    page.until(lambda: page.find("problem").is_displayed())
    assert page.find("problem").text.startswith(message)
    assert page.find("write").is_enabled()


def test_waiting_and_busy_are_shown(browser: Browser, generator: TextGenerator, gate: Gate) -> None:

    def ask(seed: int) -> threading.Thread:
        """Start another client that requests a story; return when the server has accepted it."""
        taken = threading.Event()

        async def client(session: aiohttp.ClientSession) -> None:
            async with session.post("/stories", json={"prompt": "Tom", "seed": seed}) as response:
                async for _ in events_of(response):
                    taken.set()

        thread = threading.Thread(target=visit, args=(address, client))
        thread.start()
        assert taken.wait(20)
        return thread

    with serving(generator, most_waiting=1) as address:
        page = Page(browser, address)
        others = [ask(1)]
        page.write("Ann", 3)
        page.until(lambda: page.content("status") == "Waiting: one story is ahead of yours.")
        page.find("stop").click()
        page.until(lambda: page.content("status") == "Stopped.")
        assert gate.jobs[1].abandoned.wait(20)  # otherwise its position might still be taken
        others.append(ask(2))
        page.find("write").click()
        page.until(lambda: page.find("problem").is_displayed())
        assert page.find("problem").text == "busy: one story is being generated, 1 waiting; try again in 5 seconds"
        gate.open()
        for other in others:
            other.join(10)
        page.find("write").click()
        page.until(page.is_done)
        assert not page.find("problem").is_displayed()
        browser.driver.get("about:blank")


def test_a_lost_connection_is_reported(browser: Browser, generator: TextGenerator) -> None:
    with serving(generator) as address:
        page = Page(browser, address)
    page.find("write").click()
    page.until(lambda: page.find("problem").is_displayed())
    assert page.find("problem").text == "The connection to the server was lost; is it running?"


def test_the_page_fits_a_phone(page: Page) -> None:
    page.browser.resize(*PHONE)
    page.browser.driver.refresh()
    page.until(lambda: page.find("write").is_enabled())
    assert page.find("settings").get_attribute("open") is None
    page.find("settings").find_element("tag name", "summary").click()
    page.write("x" * 40, 3)
    page.until(page.is_done)
    assert page.browser.driver.execute_script("return innerWidth") == PHONE[0]
    assert page.browser.overflow() == 0


def test_every_control_has_an_accessible_name(page: Page) -> None:
    """For screen readers: each control is labelled, and the story is announced when it is complete."""
    for tag in ("input", "textarea", "button", "summary"):
        for element in page.browser.driver.find_elements("tag name", tag):
            hidden = element.get_attribute("hidden")
            assert hidden or element.accessible_name, element.get_attribute("outerHTML")
    assert page.find("story").get_attribute("aria-live") == "polite"
    assert page.find("problem").get_attribute("role") == "alert"
