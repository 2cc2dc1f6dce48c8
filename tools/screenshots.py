"""Write docs/images/report.png and serve.png: the report of the committed run and a story on the page of `serve`.

`make screenshots`, after `make repro`; needs Chromium or Chrome with chromedriver. The same run gives the same
report.png; serve.png shows how fast this machine wrote, so its bytes change.
"""

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import Browser, NoBrowserError, find_browser, start_browser

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs/images"
REPORT = ROOT / "plots/report.html"
MODEL = ROOT / "artifacts/model"

REPORT_WIDTH, SERVE_WIDTH = 1000, 1120  # of the windows [CSS pixels]
SCALE = 1.5  # pixels per CSS pixel
COLOURS = 256  # of the palette, which makes a file a third of the size
MOST_BYTES = 400_000  # of an image, because every clone downloads it

CHECKPOINT = 1  # the first after the untrained model: words, but no story yet
SEED = 3
SECONDS = 120  # longest wait for the server and for a story


def main() -> None:
    for path in (REPORT, MODEL):
        if not path.exists():
            sys.exit(f"error: {path.relative_to(ROOT)}: expected the outputs of a run; run: make repro")
    try:
        files = find_browser()
    except NoBrowserError as error:
        sys.exit(f"error: {error}; install Chromium and its driver (Debian: chromium chromium-driver)")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with start_browser(*files, REPORT_WIDTH, REPORT_WIDTH) as browser:
        browser.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        save(report(browser), IMAGES / "report.png")
        with serving() as address:
            save(serve(browser, address), IMAGES / "serve.png")


def report(browser: Browser) -> bytes:
    """Return a picture of the report from its title to the story token by token, with a token's alternatives."""
    driver = browser.driver
    driver.get(REPORT.as_uri())
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    driver.execute_script(script, driver.find_element(By.ID, "checkpoint"), CHECKPOINT)
    resize(browser, REPORT_WIDTH, "return document.getElementById('stories').getBoundingClientRect().top + scrollY")
    open_least_likely = """const shade = (token) => Number(token.style.getPropertyValue("--shade"));
    [...document.querySelectorAll(".tokens .token")].reduce((a, b) => shade(b) > shade(a) ? b : a).focus()"""
    driver.execute_script(open_least_likely)
    return driver.get_screenshot_as_png()


def serve(browser: Browser, address: str) -> bytes:
    """Return a picture of the page of `serve` with a story."""
    driver = browser.driver
    resize(browser, SERVE_WIDTH, "return 1000")
    driver.get(address)
    write = driver.find_element(By.ID, "write")
    WebDriverWait(driver, SECONDS).until(lambda _: write.is_enabled())
    driver.find_element(By.ID, "seed").send_keys(str(SEED))
    write.click()
    WebDriverWait(driver, SECONDS).until(lambda _: "tokens/s" in driver.find_element(By.ID, "status").text)
    driver.execute_script("document.activeElement.blur()")
    resize(browser, SERVE_WIDTH, "return document.body.getBoundingClientRect().bottom + scrollY")
    return driver.get_screenshot_as_png()


def resize(browser: Browser, width: int, height: str) -> None:
    """Resize the window; `height` is a script that returns it, so that it can depend on the page."""
    size = {"width": width, "height": round(browser.driver.execute_script(height)), "deviceScaleFactor": SCALE}
    size |= {"mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run `python -m tinylm serve` on a free port; yield its address."""
    command = [sys.executable, "-m", "tinylm", "serve", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8") as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                sys.exit("error: the server did not start (see above)")
            yield line.split()[0]
        finally:
            server.terminate()


def save(png: bytes, path: Path) -> None:
    """Write a picture with few colours, which it has anyway."""
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"error: {path.relative_to(ROOT)}: expected at most {MOST_BYTES:,} bytes, got {size:,}; lower SCALE")
    print(f"{path.relative_to(ROOT)}: {size:,} bytes")


if __name__ == "__main__":
    main()
