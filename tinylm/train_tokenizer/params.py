"""`train_tokenizer`: the tokenizer to train or to take."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.errors import quote
from tinylm.base.fields import Name, Path
from tinylm.base.params import Section


class TrainTokenizerParams(Section):
    name: ClassVar[str] = "train_tokenizer"

    kind: Literal["bpe", "gpt2", "file"]  # trained on the corpus, GPT-2's from the Hub, or any tokenizer.json
    vocab_size: Annotated[int, Field(ge=257, le=1_000_000)]  # entries, including <|endoftext|> and the 256 bytes (bpe)
    min_frequency: Annotated[int, Field(ge=1, le=1_000_000_000)]  # lowest count of a pair that is merged (bpe)
    path: Path | None  # path of the tokenizer.json (file)
    end_of_text: Name | None  # token of the file that ends a story; null: <|endoftext|>, added if it is missing (file)

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if good.get("kind") == "file" and good.get("path", "") is None:
            yield "path", "expected a tokenizer.json with train_tokenizer.kind: file, got null"
        if good.get("kind") != "file" and good.get("end_of_text") is not None:
            yield "end_of_text", f"expected null unless train_tokenizer.kind is file, got {quote(good['end_of_text'])}"
