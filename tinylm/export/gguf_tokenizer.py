"""The tokenizer of a model as llama.cpp has it: the name and type of each id, the merges, and which token is first."""

import json

import gguf
from tokenizers import Tokenizer

from tinylm.base.errors import UserError
from tinylm.export.source import Source
from tinylm.tokenizer.byte_level import unlike_gpt2


def check_tokenizer(source: Source) -> None:
    """Raise UserError if llama.cpp would give a text other ids."""
    if (unlike := unlike_gpt2(source.tokenizer)) is not None:
        raise UserError(
            f"{source.folder}: expected byte-level BPE as GPT-2's, which llama.cpp computes too, got {unlike}; "
            "train a model with such a tokenizer (train_tokenizer.kind: bpe or gpt2)"
        )


def add_tokenizer(writer: gguf.GGUFWriter, source: Source) -> None:
    """Add the tokenizer to a file; every story begins with <|endoftext|>, as in training."""
    names, types = entries(source.tokenizer, source.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in json.loads(source.tokenizer.to_str())["model"]["merges"]])
    writer.add_bos_token_id(source.end_of_text)
    writer.add_eos_token_id(source.end_of_text)
    writer.add_eot_token_id(source.end_of_text)
    writer.add_add_bos_token(True)  # the default of llama.cpp for this kind of tokenizer is False


def entries(tokenizer: Tokenizer, vocab_size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Return the name and the type of each id; ids that only the embedding has are named, too, and unused."""
    special = {id_: token.special for id_, token in tokenizer.get_added_tokens_decoder().items()}
    names, types = [], []
    for id_ in range(vocab_size):
        if (name := tokenizer.id_to_token(id_)) is None:
            name, type_ = f"[PAD{id_}]", gguf.TokenType.UNUSED
        elif id_ in special:
            type_ = gguf.TokenType.CONTROL if special[id_] else gguf.TokenType.USER_DEFINED
        else:
            type_ = gguf.TokenType.NORMAL
        names.append(name)
        types.append(type_)
    return names, types
