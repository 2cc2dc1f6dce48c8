"""The model card, README.md of a model folder: what stands in it before and after the scores are known.

A card is Markdown that begins with front matter in YAML, which the Hugging Face Hub reads.
"""

from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

CARD = "README.md"
FOLDER = "artifacts/model"  # as code in a card names the model; `tinylm push` writes the name on the Hub in its place
# What every card of ours has in its front matter.
SHARED = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["tinylm", "stories"]}
LOADING = f"""\
```python
from transformers import pipeline
write = pipeline("text-generation", "{FOLDER}")
print(write("Once upon a time")[0]["generated_text"])
```"""


def compose(front_matter: Mapping[str, Any], sections: Iterable[str]) -> str:
    """Return a card: the front matter, then the sections with an empty line between them."""
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = False, 1_000, False  # type: ignore[assignment]
    yaml.dump(dict(front_matter), text)
    return f"---\n{text.getvalue()}---\n\n" + "\n\n".join(sections) + "\n"


def table(rows: Mapping[str, object]) -> str:
    """Return a Markdown table of names and values, without a heading; text of others has to be escaped."""
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def escape(text: str) -> str:
    """Escape Markdown and HTML: an untrained model may generate any text."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|~&" else c for c in text)


def size(parameters: int) -> str:
    """Format a number of parameters as in names of models: 1.38M."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{letter}"
    return str(parameters)


def describe(model: Mapping[str, Any], parameters: int, context: int) -> dict[str, str]:
    """Return the rows of a table: what a model is, by the section `model` of params.yaml; `context` in tokens."""
    return {
        "architecture": f"{model['architecture']}, {model['layers']} layers, width {model['width']}",
        "parameters": f"{parameters:,}",
        "context": f"{context:,} tokens",
    }
