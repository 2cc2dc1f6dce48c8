"""An export for browsers in a real one, from a plain static host: the stories of tinylm, Stop, and what can go wrong.

ONNX Runtime and PyTorch round differently, by about 1e-6. Two tokens that are as close as that may be swapped; in the
stories here none are, so they are equal.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from tests.serve.test_page import Page
from tests.support import accessibility, tiny
from tests.support.browser import DESKTOP, PHONE, Browser
from tests.support.static_host import StaticHost, hosting
from tinylm.base.errors import UserError
from tinylm.compute.counter_rng import uniform
from tinylm.export.exporting import export
from tinylm.export.source import Source
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.sampler import Sampling, draw
from tinylm.sampling.streaming import TextGenerator
from tinylm.serve.defaults import NEUTRAL

LAYOUTS = ("qwen3", "llama", "gpt2")
PAGE = "user/repository/model-web"  # a static host may serve the page below any path
CONTEXT = 2048  # so that a story is long enough to be stopped
ODD = [
    "😀",
    "é",
    "漢",
    "e\u0301",
    "👩\u200d👧",
    "\ufeff",
    "\u00a0",
    "\u2028",
    "\t",
    "\r\n",
    "  ",
    "“”",
    "I'LL",
    "½",
    "Ⅷ",
]
ODD += ["Ⅷ", "ſ", "\U0010ffff", "<|endoftext"]
MESSAGE = "could not be loaded; check that the server has the whole folder, and load the page again."


class WebPage(Page):
    """A page that loads the model itself; it is not loaded again if the browser shows it."""

    def __init__(self, browser: Browser, address: str):
        self.browser, self.address = browser, address
        if browser.driver.current_url != address:
            browser.driver.get(address)

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        super().until(condition, seconds)  # a busy machine takes a while to start WebAssembly

    def loaded(self) -> "WebPage":
        self.until(lambda: self.find("write").is_enabled())
        return self


@pytest.fixture(scope="module")
def sources(make_source: Callable[..., Source]) -> dict[str, Source]:
    return {layout: make_source(layout, context=CONTEXT) for layout in LAYOUTS}


@pytest.fixture(scope="module")
def host(sources: dict[str, Source], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaticHost]:
    folder = tmp_path_factory.mktemp("host")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # without a params.yaml
        for layout, source in sources.items():
            export(source, "web", "f32", folder / layout / "user/repository")
    with hosting(folder) as running:
        yield running


@pytest.fixture
def page(browser: Browser, host: StaticHost) -> Iterator[WebPage]:
    """The page of a model; afterwards no page may have logged an error or sent a request to another machine."""
    browser.resize(*DESKTOP)
    yield WebPage(browser, f"{host.address}/qwen3/{PAGE}/").loaded()
    assert browser.console_errors() == []
    assert all(url.startswith("http://127.0.0.1:") for url in browser.requested_urls())


@pytest.fixture
def broken(browser: Browser, host: StaticHost) -> Iterator[StaticHost]:
    """A host that may lack files; the errors in the console are expected."""
    browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})  # else it may have what the host lacks
    yield host
    host.missing.clear()
    host.cut.clear()
    browser.driver.get("about:blank")
    browser.forget()


def call(page: WebPage, module: str, code: str, *arguments: Any) -> Any:
    """Return the value of an expression of JavaScript with `m`, a module of the page, and the arguments `a`."""
    script = f"const a = arguments, done = a[a.length - 1]; import(`./{module}`).then((m) => {code}).then(done)"
    return page.browser.driver.execute_async_script(script, *arguments)


def write(page: WebPage, prompt: str, **settings: float | str) -> str:
    """Write a story with these settings; the others are the model's own distribution, and 40 tokens."""
    settings = {"temperature": 1, "top_p": 1, "top_k": "", "max_tokens": 40, "seed": 1} | settings
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    for name, value in (settings | {"prompt": prompt}).items():
        page.browser.driver.execute_script(script, page.find(name), value)
    page.find("write").click()
    page.until(lambda: page.is_done() or page.find("problem").is_displayed())
    assert not page.find("problem").is_displayed(), page.find("problem").text
    return page.content("begun") + page.content("text")


def expected(source: Source, prompt: str, **settings: Any) -> str:
    request = GenerationRequest.of(NEUTRAL | {"max_tokens": 40, "seed": 1, "prompt": prompt} | settings)
    story = TextGenerator(source.model(), source.tokenizer).stream(request)
    return story.prompt + "".join(story)


def test_what_the_page_shows_of_the_model(page: WebPage, sources: dict[str, Source]) -> None:
    parameters = sources["qwen3"].model().size().parameters
    assert page.content("model") == f"model, {parameters:,} parameters"
    assert page.find("max_tokens").get_property("value") == str(CONTEXT - 1)
    assert page.content("status") == ""


@pytest.mark.parametrize("prompt", ["", "Once upon a time", "Zoë 漢 e\u0301", "Lily 😀", "\ufeffTom\n\tsaid “hi”"])
def test_a_greedy_story_is_that_of_tinylm(page: WebPage, sources: dict[str, Source], prompt: str) -> None:
    assert write(page, prompt, temperature=0) == expected(sources["qwen3"], prompt, temperature=0.0)


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 20}, {"top_k": 50, "top_p": 0.5}], ids=str
)
def test_a_seed_gives_the_story_of_tinylm(
    page: WebPage, sources: dict[str, Source], settings: dict[str, float]
) -> None:
    shown = write(page, "Tom", seed=2**53 - 1, **settings)
    assert shown == expected(sources["qwen3"], "Tom", seed=2**53 - 1, **settings)


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_other_layouts(browser: Browser, host: StaticHost, sources: dict[str, Source], layout: str) -> None:
    other = WebPage(browser, f"{host.address}/{layout}/{PAGE}/").loaded()
    assert write(other, "Ann 😀", temperature=0) == expected(sources[layout], "Ann 😀", temperature=0.0)
    assert write(other, "Ann 😀", seed=3) == expected(sources[layout], "Ann 😀", seed=3)
    assert browser.console_errors() == []


def test_the_tokenizer_is_that_of_tinylm(page: WebPage, sources: dict[str, Source]) -> None:
    random, tokenizer = Random(0), sources["qwen3"].tokenizer
    texts = tiny.stories(500)
    for number in range(0, 500, 2):
        words = texts[number].split(" ")
        for _ in range(10):
            words.insert(random.randrange(len(words) + 1), random.choice(ODD))
        texts[number] = random.choice(["", " "]).join(words)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    cut = [random.sample(of_text, 20) for of_text in ids]  # in parts not UTF-8
    code = """fetch("tokenizer.json").then((file) => file.json()).then((file) => {
        const tokenizer = new m.Tokenizer(file, {clean_up_tokenization_spaces: false});
        return [a[0].map((text) => tokenizer.encode(text, {add_special_tokens: false}).ids),
            a[1].map((ids) => tokenizer.decode(ids, {skip_special_tokens: true}))]; })"""
    encoded, decoded = call(page, "vendor/tokenizers.min.js", code, texts, ids + cut)
    assert encoded == ids
    assert decoded == [tokenizer.decode(of_text) for of_text in ids + cut]


def test_random_numbers_are_those_of_tinylm_bit_for_bit(page: WebPage) -> None:
    for seed in (0, 7, 2**32 - 1, 2**53 - 1):
        numbers = call(page, "counter_rng.js", "a[1].map((n) => m.uniform(a[0], 0, n))", seed, list(range(300)))
        assert numbers == uniform(seed, 0, np.arange(300, dtype=np.uint64)).tolist()


def test_the_sampler_is_that_of_tinylm(page: WebPage) -> None:
    logits = 3 * torch.randn((100, 50), generator=torch.Generator().manual_seed(0))
    uniforms = np.linspace(0, 1, 100, endpoint=False)
    code = "a[0].map((logits, i) => m.draw(Float32Array.from(logits), a[1][i], a[2]))"
    cases: list[tuple[float, int | None, float | None]]
    cases = [(0, None, None), (1, None, None), (0.7, None, 0.8), (2, None, 0.01), (1, 99, 1), (1, 7, 0.5)]
    for temperature, top_k, top_p in cases:
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        drawn = call(page, "sampler.js", code, logits.tolist(), uniforms.tolist(), settings)
        assert drawn == draw(logits, uniforms, Sampling(**settings, max_tokens=1, seed=0)).tolist(), settings


def test_a_request_is_checked_as_on_the_server(page: WebPage) -> None:
    values: list[dict[str, Any]] = [{}]
    values += [{"prompt": prompt} for prompt in ("x" * 4001, "a\x07", "a\x85", "a <|endoftext|> b", "😀" * 4000)]
    values += [{"temperature": value} for value in (0, 0.0005, 0.001, 10, 10.5, -1)]
    values += [{"top_k": value} for value in (1, 0, -3, 1.5, 1_000_000, 1_000_001)]
    values += [{"top_p": value} for value in (1, 0.5, 0, 1.5)]
    values += [{"max_tokens": value} for value in (1, None, 0, 2.5, 1_000_001)]
    values += [{"seed": value} for value in (0, 2**53 - 1, -1, 0.5, 1e16, 1e22)]
    values += [{"prompt": "\x00", "temperature": 11, "top_k": 0, "seed": -1}]
    code = """fetch("model.json").then((file) => file.json()).then((model) => a[0].map((request) => {
        try { return m.check(request, model) ?? null } catch (error) { return error.message } }))"""
    requests = [NEUTRAL | {"temperature": 1} | value for value in values]
    shown = call(page, "request.js", code, requests)
    assert shown == [mistake(request) for request in requests]
    assert None in shown


def mistake(request: dict[str, Any]) -> str | None:
    """What the server says of a request. JavaScript has one type of numbers, and JSON writes whole ones as integers."""
    whole = {name: int(value) for name, value in request.items() if isinstance(value, float) and 1e6 < value < 1e21}
    try:
        GenerationRequest.of(request | whole)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("prompt", "x" * 70, "prompt: expected fewer than 40 tokens (the longest story), got 70; raise max_tokens"),
        ("prompt", "é" * 1100, "prompt: expected fewer than 2047 tokens (the longest story), got 2200; shorten it"),
        ("seed", "-1", "seed: expected at least 0, got -1"),
        ("max_tokens", "", "max_tokens: expected a whole number, got null"),
    ],
)
def test_a_mistake_is_shown(page: WebPage, name: str, value: str, message: str) -> None:
    page.type("seed", "1")
    page.type("max_tokens", "40" if len(value) < 100 else "5000")
    page.type(name, value)
    page.find("write").click()
    page.until(lambda: page.find("problem").is_displayed())
    assert page.find("problem").text.startswith(message)
    assert page.find(name).get_attribute("aria-invalid") == "true"
    assert page.find("write").is_enabled()


def test_stop(page: WebPage, sources: dict[str, Source]) -> None:
    page.browser.driver.execute_script("document.getElementById('temperature').value = 0")
    page.type("max_tokens", str(CONTEXT - 1))
    page.write("Tom", 4)
    page.until(lambda: len(page.content("text")) > 3)
    page.find("stop").click()
    assert page.content("status") == "Stopped · seed 4"
    shown = page.content("text")
    assert write(page, "Ann", seed=5) == expected(sources["qwen3"], "Ann", seed=5)
    assert len(shown) < 3 * CONTEXT


def test_the_page_is_accessible(page: WebPage) -> None:
    write(page, "x" * 40, max_tokens=60)
    assert accessibility.findings(page.browser) == []
    page.browser.resize(*PHONE)
    page.type("seed", "-1")
    page.find("write").click()
    page.until(lambda: page.find("problem").is_displayed())
    assert accessibility.findings(page.browser) == []
    assert page.browser.overflow() == 0


def problem_of(browser: Browser, address: str) -> str:
    """Open a page that cannot load its model; return what it says."""
    page = WebPage(browser, address)
    page.until(lambda: page.find("problem").is_displayed())
    assert not page.find("write").is_enabled()
    return page.find("problem").text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("writer.js", f"A script of this page {MESSAGE}"),
        ("vendor/ort.wasm.bundle.min.js", f"A script of this page {MESSAGE}"),
        ("model.onnx", "model.onnx: the server answered 404; check that it has the whole folder"),
        (
            "vendor/ort-wasm-simd-threaded.wasm",
            "vendor/ort-wasm-simd-threaded.wasm: the server answered 404; check that it has the whole folder",
        ),
    ],
)
def test_a_missing_file(browser: Browser, broken: StaticHost, name: str, message: str) -> None:
    broken.missing.add(f"llama/{PAGE}/{name}")
    assert problem_of(browser, f"{broken.address}/llama/{PAGE}/") == message


def test_a_file_that_is_cut_off(browser: Browser, broken: StaticHost) -> None:
    size = (broken.folder / "llama" / PAGE / "model.onnx").stat().st_size
    broken.cut.add(f"llama/{PAGE}/model.onnx")
    message = f"model.onnx: expected {size} bytes, got {size // 2}; check that the server has the whole file"
    assert problem_of(browser, f"{broken.address}/llama/{PAGE}/") == message


def test_the_page_opened_from_the_disk(browser: Browser, broken: StaticHost) -> None:
    assert problem_of(browser, (broken.folder / "llama" / PAGE / "index.html").as_uri()) == (
        "Browsers run this page only from a server. In its folder, run: python -m http.server; "
        "then open http://localhost:8000"
    )


def test_a_browser_without_webassembly(browser: Browser, broken: StaticHost) -> None:
    script = {"source": "delete globalThis.WebAssembly"}
    added = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        assert problem_of(browser, f"{broken.address}/llama/{PAGE}/") == (
            "This browser has no WebAssembly, which runs the model; use a current one."
        )
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_a_host_that_went_away(browser: Browser, sources: dict[str, Source], tmp_path: Path) -> None:
    """A page that is loaded needs no network any more."""
    folder, _ = export(sources["gpt2"], "web", "f32", tmp_path)
    with hosting(tmp_path) as host:
        page = WebPage(browser, f"{host.address}/{folder.name}/").loaded()
    assert write(page, "Tom", seed=2) == expected(sources["gpt2"], "Tom", seed=2)
