"""The Modelfile from which Ollama creates a model: weights, template and sampling."""

from collections.abc import Mapping
from typing import Any

from tinylm.tokenizer.loading import END_OF_TEXT


def modelfile(weights: str, context: int, sampling: Mapping[str, Any]) -> str:
    """Return a Modelfile for the GGUF file `weights` beside it; `context` in tokens.

    Ollama then continues a prompt as it is, and samples as `tinylm write` does: a top_k of 0 is no limit, and a penalty
    of 1, for repetitions, is none.
    """
    return f"""\
FROM ./{weights}
TEMPLATE "{{{{ .Prompt }}}}"
PARAMETER num_ctx {context}
PARAMETER num_predict {sampling["max_tokens"]}
PARAMETER temperature {sampling["temperature"]:g}
PARAMETER top_k {sampling["top_k"]}
PARAMETER top_p {sampling["top_p"]:g}
PARAMETER repeat_penalty 1
PARAMETER stop "{END_OF_TEXT}"
"""
