"""llama.cpp computes the models that we export to GGUF: the same ids, logits and stories.

It is in the dependency group `runtimes`, for these tests alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from tests.export.conftest import LAYOUTS
from tests.support import tiny
from tinylm.export.gguf import write
from tinylm.export.source import Source
from tinylm.sampling.generation import generate
from tinylm.sampling.sampler import Sampling
from tinylm.train_tokenizer.training import train_bpe

llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python: .venv/bin/uv pip install llama-cpp-python")

pytestmark = pytest.mark.slow

MakeSource = Callable[..., Source]
Load = Callable[[Source, str], Any]
# Largest differences of logits over 200 tokens, in standard deviations of all logits; about three times those of these
# models. llama.cpp rounds activations as well, to the type of the weights they meet.
LARGEST = {"f32": 1e-5, "f16": 2e-2, "bf16": 0.2, "q8_0": 0.6}
LARGEST_GPT2_F32 = 6e-3  # llama.cpp reads GELU from a table in half precision
ODD = (
    "",
    " ",
    "\n\n \n",
    "   three   spaces  ",
    "\ttab\r\nline",
    "I'm, you're, he'd, we'll, they've, it's, don't, 'TIS, DON'T, l'été",
    "“Quotes” — dashes… and ‘more’",
    "Ünïcödé, straße, Ελληνικά, русский, עברית, العربية, हिन्दी, 日本語, 한국어",
    "👍🏽 👩‍👩‍👧 🏳️‍🌈 🙂!🙂?",
    "e\u0301 and é, \u00a0no-break\u2003em\u3000wide\u200bzero",
    "1234567890 1,000.50 ½ ² Ⅷ ٣ 十",
    "a_b-c/d\\e|f~g`h^i*j+k=l<m>n[o]p{q}r#s$t%u&v@w",
    "\x00\x07\x1b\x7f\ufeff\ufffd\U0010ffff",
)


def texts() -> list[str]:
    """Return 500 stories: of the tiny corpus, with odd text in every second one, and real ones if they are here."""
    real = tiny.ROOT.parent / "shared" / "tinystories" / "valid.txt"
    found = list(islice(stories_of(real), 200)) if real.is_file() else []
    made = tiny.stories(500 - len(found))
    for n in range(0, len(made), 2):
        middle = 5 * n % len(made[n])
        made[n] = made[n][:middle] + ODD[n // 2 % len(ODD)] + made[n][middle:]
    return [*ODD, *found, *made]


def stories_of(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        story: list[str] = []
        for line in lines:
            if line.strip() == "<|endoftext|>":
                yield "".join(story)
                story = []
            else:
                story.append(line)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Return a function that exports a model and loads it in llama.cpp, with keys and values in float32."""
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def without_repacking() -> Any:
        params = defaults()
        params.use_extra_bufts = False  # kernels for AMX that GCC 12 has compiled end in SIGILL
        return params

    monkeypatch.setattr(llama_cpp.llama_cpp, "llama_model_default_params", without_repacking)
    loaded = []

    def load(source: Source, type_: str) -> Any:
        write(source, type_, tmp_path)
        f32 = llama_cpp.GGML_TYPE_F32
        path, context = str(tmp_path / "model.gguf"), source.params.context
        model = llama_cpp.Llama(
            path, n_ctx=context, n_threads=1, logits_all=True, type_k=f32, type_v=f32, verbose=False
        )
        loaded.append(model)
        return model

    yield load
    for model in loaded:
        model.close()


def with_tokenizer(source: Source, tokenizer: Tokenizer, rows: int) -> Source:
    """Return a model with another tokenizer and more rows of the embedding."""
    more = torch.ones(rows - source.vocab_size, source.params.width)
    weights = {name: torch.cat([source.weights[name], more]) for name in ("embedding.weight", "head.weight")}
    return replace(source, vocab_size=rows, weights=source.weights | weights, tokenizer=tokenizer)


def test_ids_are_ours(make_source: MakeSource, load: Load) -> None:
    """The tokenizer has merges of the odd texts, so that another pattern gives them other ids."""
    tokenizer = train_bpe(texts(), 600, 2)
    source = with_tokenizer(make_source("llama"), tokenizer, 609)
    model = load(source, "f16")
    for text in texts():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert model.tokenize(text.encode(), add_bos=False) == ids, text
        assert model.tokenize(text.encode()) == [source.end_of_text, *ids], text
        assert model.detokenize(ids) == text.encode()
    assert model.token_bos() == model.token_eos() == source.end_of_text
    assert model.n_vocab() == 609


@pytest.mark.parametrize("type_", LARGEST)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_ours(layout: str, type_: str, make_source: MakeSource, load: Load) -> None:
    source = make_source(layout)
    model = load(source, type_)
    ids = [source.end_of_text, *torch.randint(300, (199,), generator=torch.Generator().manual_seed(3)).tolist()]
    with torch.no_grad():
        ours = source.model()(torch.tensor([ids]))[0].numpy()  # (T, V)
    model.eval(ids)
    error = np.abs(np.array(model.scores[:200]) - ours).max() / ours.std()
    assert error < (LARGEST_GPT2_F32 if (layout, type_) == ("gpt2", "f32") else LARGEST[type_])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_likeliest_story_is_ours(layout: str, make_source: MakeSource, load: Load) -> None:
    source = make_source(layout)
    model = load(source, "f32")
    prompt = source.tokenizer.encode("Once upon a time").ids
    greedy = Sampling(0.0, None, None, 120, 0)
    (ours,) = generate(source.model(), [prompt], [0], [greedy], source.end_of_text)
    story = model.generate(model.tokenize(b"Once upon a time"), temp=0.0, repeat_penalty=1.0)
    theirs = list(islice(story, len(ours.continuation)))
    assert theirs == ours.continuation
    assert len(theirs) > 50
