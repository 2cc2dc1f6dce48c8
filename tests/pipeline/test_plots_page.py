"""The page of `dvc plots`: it embeds Vega's scripts, at versions without known vulnerabilities, with their licence."""

import re

from tests.support.tiny import ROOT
from tools.plots_page import PACKAGES

PAGE = (ROOT / ".dvc/plots_page.html").read_text(encoding="utf-8")
WITHOUT_KNOWN_VULNERABILITIES = {"vega": (6, 2, 0), "vega-lite": (6, 4, 0), "vega-embed": (7, 1, 0)}


def test_the_page_has_the_versions_that_the_tool_names() -> None:
    named = dict(re.findall(r"^(vega[\w-]*) (\S+): Copyright", PAGE, re.MULTILINE))
    assert named == PACKAGES
    for name, version in PACKAGES.items():
        assert tuple(map(int, version.split("."))) >= WITHOUT_KNOWN_VULNERABILITIES[name]
        assert f'version="{version}"' in PAGE or f'"{version}"' in PAGE  # the version in the script itself


def test_the_licence_is_there_once() -> None:
    assert PAGE.count("Redistribution and use in source and binary forms") == 1
    assert PAGE.count("<script>") == PAGE.count("</script>") == len(PACKAGES)
