"""Exports: the speed of one story in each program that reads them, next to `tinylm write`.

The model is that of the last run, which `tinylm export` writes in each format; the story is its most likely one, the
same in all of them. llama2.c computes no QK-norm, so it gets random weights of the same size without it. A program that
is not installed is left out.
"""

import argparse
import http.server
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.measure import ROOT
from benchmarks.report import Row, write
from tests.support.browser import DESKTOP, NoBrowserError, find_browser, start_browser
from tinylm.base.errors import UserError
from tinylm.compute.compiling import missing_for_compile
from tinylm.export.exporting import export
from tinylm.export.formats import FORMATS, PROMPT
from tinylm.export.source import Source, read_source
from tinylm.model.folder import save_tokenizer, save_weights
from tinylm.model.transformer import Transformer
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.streaming import TextGenerator, open_generator

TITLE = "Exports: tokens per second of one story"
REPETITIONS = 5
MODEL = ROOT / "artifacts/model"
Task = Callable[[], float]  # writes a story and returns its tokens per second


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option of this section."""
    parser.add_argument("--run-c", type=Path, metavar="FILE", help="run.c of llama2.c, to compare exports with")


def bench(arguments: argparse.Namespace) -> None:
    if not MODEL.is_dir():
        raise UserError(f"{MODEL.relative_to(ROOT)}: not found; train a model with `make repro`")
    torch.set_num_threads(1)  # one story gains nothing from a second core
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        tasks = dict(make_tasks(Path(name), arguments.run_c, running))
        speeds: dict[str, list[float]] = {what: [] for what in tasks}
        for task in tasks.values():
            task()  # the first story is slower: kernels are chosen, pages are read
        for _ in range(REPETITIONS):  # in turns, so that a temporary slowdown affects all of them
            for what, task in tasks.items():
                speeds[what].append(task())
    own = median(next(iter(speeds.values())))
    rows = [Row(what, median(of), "tokens/s", median(of) / own) for what, of in speeds.items()]
    write("exports", TITLE, rows)


def make_tasks(folder: Path, run_c: Path | None, running: ExitStack) -> Iterator[tuple[str, Task]]:
    """Export the model and yield the name of each program and how it writes."""
    source = read_source(MODEL)
    exported = {
        name: export(source, name, format_.types[0], folder)[0]
        for name, format_ in FORMATS.items()
        if name != "llama2c"
    }
    yield "this project", partial(tinylm_writes, open_generator(MODEL))
    if missing_for_compile(torch.device("cpu")) is None:
        yield "this project, compiled", partial(tinylm_writes, open_generator(MODEL, compiled=True))
    yield "Transformers, f32", transformers_task(source)
    yield "ONNX Runtime, f32", onnx_task(source, exported["onnx"] / "model.onnx")
    if find_spec("llama_cpp"):
        for type_ in ("f32", "f16"):
            file = export(source, "gguf", type_, folder)[0] / "model.gguf"
            yield f"llama.cpp, {type_}", llama_cpp_task(source, file)
    if run_c:
        yield "llama2.c, f32, other weights", llama2c_task(source, run_c, folder)
    if find_spec("mlx_lm"):
        yield "MLX on the CPU, f32", mlx_task(source, exported["mlx"])
    with suppress(NoBrowserError):
        yield "Chromium, f32", running.enter_context(page_task(exported["web"], find_browser()))


def tinylm_writes(generator: TextGenerator) -> float:
    request = GenerationRequest(
        prompt=PROMPT, temperature=0.0, top_k=None, top_p=None, max_tokens=generator.longest, seed=1
    )
    story = generator.stream(request)
    for _ in story:
        pass
    return story.tokens_per_second


def prompt_ids(source: Source) -> list[int]:
    return [source.end_of_text, *source.tokenizer.encode(PROMPT).ids]


def timed(source: Source, next_id: Callable[[list[int]], int]) -> float:
    """Continue the prompt with a function from new ids to the most likely next one; return tokens per second."""
    new, written, started = prompt_ids(source), 0, time.perf_counter()
    for _ in range(source.params.context - len(new)):
        new = [next_id(new)]
        if new == [source.end_of_text]:
            break
        written += 1
    return written / (time.perf_counter() - started)


def transformers_task(source: Source) -> Task:
    from transformers import AutoModelForCausalLM

    model, ids = AutoModelForCausalLM.from_pretrained(MODEL), torch.tensor([prompt_ids(source)])

    def task() -> float:
        started = time.perf_counter()
        story = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False)
        return int(story.shape[1] - ids.shape[1] - 1) / (time.perf_counter() - started)

    return task


def onnx_task(source: Source, file: Path) -> Task:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs() if value.name.startswith("past_key_values.")]
    _, heads, _, head_size = session.get_inputs()[-1].shape

    def task() -> float:
        cache, length = [np.zeros((1, heads, 0, head_size), np.float32)] * len(names), 0

        def next_id(new: list[int]) -> int:
            nonlocal cache, length
            inputs = {"input_ids": np.array([new]), "position_ids": np.arange(length, length + len(new))[None]}
            length += len(new)
            inputs["attention_mask"] = np.ones((1, length), np.int64)
            logits, *cache = session.run(None, inputs | dict(zip(names, cache, strict=True)))
            return int(logits[0, -1].argmax())

        return timed(source, next_id)

    return task


def llama_cpp_task(source: Source, file: Path) -> Task:
    import llama_cpp

    model = llama_cpp.Llama(str(file), n_ctx=source.params.context, n_threads=1, n_threads_batch=1, verbose=False)

    def task() -> float:
        model.reset()

        def next_id(new: list[int]) -> int:
            model.eval(new)
            return int(model.sample(temp=0.0))

        return timed(source, next_id)

    return task


def llama2c_task(source: Source, run_c: Path, folder: Path) -> Task:
    """The speed that run.c itself reports."""
    p = source.params.model_copy(update={"qk_norm": False})
    model = Transformer(p, source.vocab_size)
    model.initialize(torch.Generator().manual_seed(1))
    random = folder / "random"
    save_weights(random, model.state_dict(), p, source.vocab_size, source.end_of_text)
    save_tokenizer(random, MODEL / "tokenizer.json", source.end_of_text, p.context)
    files, _ = export(read_source(random), "llama2c", "f32", folder)
    program = folder / "run"
    subprocess.run(["cc", "-O3", "-march=native", "-o", program, run_c, "-lm"], check=True)
    command = [program, files / "model.bin", "-z", files / "tokenizer.bin", "-t", "0", "-i", PROMPT]

    def task() -> float:
        done = subprocess.run(command, capture_output=True, check=True)
        return float(done.stderr.split(b"achieved tok/s:")[1])

    return task


def mlx_task(source: Source, folder: Path) -> Task:
    import mlx.core as mx
    from mlx_lm import load
    from mlx_lm.models.cache import make_prompt_cache

    model, _ = load(str(folder))

    def task() -> float:
        cache = make_prompt_cache(model)
        return timed(source, lambda new: int(mx.argmax(model(mx.array([new]), cache)[0, -1]).item()))

    return task


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def page_task(folder: Path, browser: tuple[str, str]) -> Iterator[Task]:
    """The speed that the page itself shows."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with start_browser(*browser, *DESKTOP) as opened:
        page = opened.driver
        page.get(f"http://127.0.0.1:{server.server_port}/")
        wait(lambda: page.find_element("id", "write").is_enabled())
        page.execute_script("document.getElementById('temperature').value = 0")

        def task() -> float:
            page.execute_script("document.getElementById('status').textContent = ''")
            page.execute_script("document.getElementById('write').click()")
            wait(lambda: "tokens/s" in status())
            return float(re.sub(r".* ([\d,]+) tokens/s.*", r"\1", status()).replace(",", ""))

        def status() -> str:
            return str(page.find_element("id", "status").get_property("textContent"))

        yield task
    server.shutdown()


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the page does not write")
        time.sleep(0.02)
