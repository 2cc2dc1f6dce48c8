"""Give a tokenizer from elsewhere our end-of-text token, <|endoftext|>, whatever it calls its own."""

import json

from tokenizers import Tokenizer

from tinylm.base.errors import UserError, quote
from tinylm.tokenizer.loading import END_OF_TEXT


def with_end_of_text(tokenizer: Tokenizer, token: str | None = None) -> Tokenizer:
    """Rename `token` to <|endoftext|>, which keeps its id; None adds <|endoftext|> with a new id if it is missing.

    Also disables padding, truncation and post-processing: a post-processor would add tokens such as [CLS], which are
    not part of the text. Raises UserError if the tokenizer has no such token.
    """
    if token not in (None, END_OF_TEXT):
        tokenizer = _renamed(tokenizer, token)
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = None
    return tokenizer


def _renamed(tokenizer: Tokenizer, token: str) -> Tokenizer:
    if tokenizer.token_to_id(token) is None:
        raise UserError(f"the tokenizer has no token {quote(token)}; its tokenizer.json lists them (added_tokens)")
    if tokenizer.token_to_id(END_OF_TEXT) is not None:
        raise UserError(f"the tokenizer has {END_OF_TEXT}, which ends a text; leave {quote(token)} out")
    config = json.loads(tokenizer.to_str())
    config["post_processor"] = None  # it may name the token
    for added in config["added_tokens"]:
        if added["content"] == token:
            added |= {"content": END_OF_TEXT, "special": True}
    vocabulary = config["model"]["vocab"]
    if isinstance(vocabulary, dict):
        config["model"]["vocab"] = {END_OF_TEXT if name == token else name: id_ for name, id_ in vocabulary.items()}
    else:  # Unigram: [token, score] in the order of the ids
        config["model"]["vocab"] = [[END_OF_TEXT if name == token else name, score] for name, score in vocabulary]
    if config["model"].get("unk_token") == token:
        config["model"]["unk_token"] = END_OF_TEXT
    return Tokenizer.from_str(json.dumps(config))
