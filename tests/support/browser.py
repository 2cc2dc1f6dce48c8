"""A real browser without a window, for tests of pages: `with open_browser() as browser: ...`.

Chromium or Chrome with its driver, from the PATH; a test that needs them is skipped where they are not.
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
    "--touch-events=enabled",  # and not only where there is a touch screen
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
DESKTOP, PHONE = (1280, 900), (390, 844)  # width and height [CSS pixels]
SCRIPT_SECONDS = 20  # longest wait for a page or a script


class Browser:
    """A driver of Selenium, and what its pages logged and asked for."""

    def __init__(self, driver: Chrome):
        self.driver = driver
        self._logs: dict[str, list[dict[str, Any]]] = {"browser": [], "performance": []}

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Have pages `width` x `height` CSS pixels; windows themselves are never as narrow as a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def console_errors(self) -> list[str]:
        """What the pages' consoles hold of errors and warnings, refused loads and broken policies included."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requested_urls(self) -> list[str]:
        """All that the pages asked for, in this order; a WebSocket's address too."""
        urls = []
        for entry in self._log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                urls.append(event["params"]["request"]["url"])
            elif event["method"] == "Network.webSocketCreated":
                urls.append(event["params"]["url"])
        return urls

    def forget(self) -> None:
        """Forget what was logged before, so that the next test sees its own pages alone."""
        for name in self._logs:
            self._log(name).clear()

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window: 0 where nothing scrolls sideways."""
        return self.driver.execute_script("const e = document.documentElement; return e.scrollWidth - e.clientWidth")

    def _log(self, name: str) -> list[dict[str, Any]]:
        self._logs[name] += self.driver.get_log(name)  # each entry is given once
        return self._logs[name]


@contextlib.contextmanager
def open_browser(width: int = DESKTOP[0], height: int = DESKTOP[1]) -> Iterator[Browser]:
    """A browser with a profile of its own; skips the test where there is none."""
    binary, driver_file = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if binary is None or driver_file is None:
        pytest.skip(f"no {' or '.join(BROWSERS)} with chromedriver in the PATH")
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
            driver.get("about:blank")  # and not the browser's own first page, which asks for much
            browser.forget()
            yield browser
        finally:
            driver.quit()
