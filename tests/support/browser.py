"""A real headless browser for tests and pictures of pages: `with open_browser() as browser: ...`.

Uses Chromium or Chrome with its driver, from the PATH; a test that needs them is skipped if they are missing.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # containers run as root, which Chromium's sandbox refuses
    "--disable-gpu",
    "--touch-events=enabled",  # also without a touch screen
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
DESKTOP, PHONE = (1280, 900), (390, 844)  # width and height [CSS pixels]
LOOKS = {  # how a page may be looked at: width, height, and whether in the dark
    "desktop": (*DESKTOP, False),
    "phone": (*PHONE, False),
    "small phone": (320, 568, False),
    "dark phone": (*PHONE, True),
}
SCRIPT_SECONDS = 20  # longest wait for a page or a script


def on(*looks: str) -> pytest.MarkDecorator:
    """Run a test of a page with these of LOOKS only."""
    return pytest.mark.parametrize("look", looks, indirect=True)


class NoBrowserError(Exception):
    """There is no browser on this machine, or no driver for it."""


class Browser:
    """A Selenium driver, with the console messages and requests of its pages."""

    def __init__(self, driver: Chrome):
        self.driver = driver
        self._logs: dict[str, list[dict[str, Any]]] = {"browser": [], "performance": []}

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Set the size of pages in CSS pixels; a real window cannot be as narrow as a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def console_errors(self) -> list[str]:
        """Return the errors and warnings in the console, including refused loads and policy violations."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requested_urls(self) -> list[str]:
        """Return all URLs that the pages requested, in order, including those of WebSockets."""
        urls = []
        for entry in self._log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                urls.append(event["params"]["request"]["url"])
            elif event["method"] == "Network.webSocketCreated":
                urls.append(event["params"]["url"])
        return urls

    def forget(self) -> None:
        """Clear the logs, so that the next test sees only its own pages."""
        for name in self._logs:
            self._log(name).clear()

    def overflow(self) -> int:
        """Return by how many CSS pixels the page is wider than its window: 0 if it does not scroll sideways."""
        return self.driver.execute_script("const e = document.documentElement; return e.scrollWidth - e.clientWidth")

    def _log(self, name: str) -> list[dict[str, Any]]:
        self._logs[name] += self.driver.get_log(name)  # type: ignore[no-untyped-call]  # it returns each entry once
        return self._logs[name]


@contextlib.contextmanager
def open_browser(width: int = DESKTOP[0], height: int = DESKTOP[1]) -> Iterator[Browser]:
    """Start a browser with its own profile; skip the test if there is no browser."""
    try:
        files = find_browser()
    except NoBrowserError as error:
        pytest.skip(str(error))
    with start_browser(*files, width, height) as browser:
        yield browser


def find_browser() -> tuple[str, str]:
    """Return the paths of a browser and its driver. Raises NoBrowserError if one of them is missing."""
    binary, driver_file = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if binary is None or driver_file is None:
        raise NoBrowserError(f"no {' or '.join(BROWSERS)} with chromedriver in the PATH")
    return binary, driver_file


@contextlib.contextmanager
def start_browser(binary: str, driver_file: str, width: int, height: int) -> Iterator[Browser]:
    """Start a browser with its own profile, for windows of this size."""
    options = ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = Chrome(options, Service(driver_file))
        try:
            driver.set_page_load_timeout(SCRIPT_SECONDS)
            driver.set_script_timeout(SCRIPT_SECONDS)
            browser = Browser(driver)
            browser.resize(width, height)
            driver.get("about:blank")  # leave the browser's own start page, which sends requests
            browser.forget()
            yield browser
        finally:
            driver.quit()
