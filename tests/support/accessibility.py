"""Checks of a page in a real browser: the rules of axe-core, the way of the Tab key, and colours.

axe-core comes with selenium-axe-python, colours and the simulation of colour blindness with ColorAide.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

from coloraide import Color
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium_axe_python import Axe

from tests.support.browser import Browser

# Level A and AA of the Web Content Accessibility Guidelines 2.0 to 2.2, and axe's further advice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
TEXT_CONTRAST, SHAPE_CONTRAST = 4.5, 3.0  # WCAG 1.4.3 and 1.4.11
COVERED = ("bgOverlap", "elmPartiallyObscured", "elmPartiallyObscuring")  # what axe says of text below a tooltip
VISION = ("deutan", "protan", "tritan")  # without the cones for green, red, blue
MOST_STOPS = 200

CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']"
SHOWN = f"""return [...document.querySelectorAll(`{CONTROLS}`)].filter((control) => !control.disabled
    && control.checkVisibility())"""
FOCUS = """const control = document.activeElement, style = getComputedStyle(control);
const box = control.getBoundingClientRect();
return {outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    inside: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth}"""


def findings(browser: Browser) -> list[str]:
    """Return a line for each element that breaks a rule of axe-core, or about which it could not decide.

    It never decides about the contrast of text within SVG, for which there is `contrast`, nor of covered text.
    """
    axe = Axe(browser.driver)
    axe.inject()
    results = axe.run(options={"runOnly": RULES})
    assert len(results["passes"]) > 20  # it did run
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for kind in ("violations", "incomplete")
        for rule in results[kind]
        for node in rule["nodes"]
        if not (kind == "incomplete" and rule["id"] == "color-contrast" and _is_undecidable(node))
    ]


def _is_undecidable(node: dict[str, Any]) -> bool:
    return node["html"].startswith("<text") or node["any"][0]["data"]["messageKey"] in COVERED


def tab_stops(browser: Browser) -> list[WebElement]:
    """Press Tab from the top of the page to its end; return the elements that had the focus.

    Checks that the focus can be seen at each of them, and that they are all of the page's controls.
    """
    driver = browser.driver
    driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    stops: list[WebElement] = []
    while len(stops) < MOST_STOPS:
        ActionChains(driver).send_keys(Keys.TAB).perform()
        focused = driver.switch_to.active_element
        if focused.tag_name == "body" or focused in stops:
            break
        seen: dict[str, Any] = driver.execute_script(FOCUS)
        assert seen["outline"] >= 2, focused.get_attribute("outerHTML")
        assert seen["inside"], focused.get_attribute("outerHTML")
        stops.append(focused)
    missed = [control for control in driver.execute_script(SHOWN) if control not in stops]
    assert [control.get_attribute("outerHTML") for control in missed] == []
    return stops


def style(browser: Browser, selector: str, name: str) -> str:
    """Return a property of the computed style of the first element that matches."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    found: str = browser.driver.execute_script(script, selector, name)
    return found


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours of CSS as WCAG defines it: 1 to 21."""
    return Color(one).contrast(other)


def least_distance(colours: Iterable[str]) -> float:
    """Return the smallest difference (CIEDE2000) between two of the colours, for full and colour-blind vision.

    1 is just visible side by side; colours of thin lines are told apart with certainty from about 20 on.
    """
    pairs = list(combinations(map(Color, colours), 2))
    seen = pairs + [(one.filter(kind).clip(), other.filter(kind).clip()) for kind in VISION for one, other in pairs]
    return min(one.delta_e(other, method="2000") for one, other in seen)
