"""Mojibake is repaired, and text that only looks unusual is left alone."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinylm.download.mojibake import repair


def mojibake(text: str, encoding: str = "cp1252") -> str:
    """Decode UTF-8 with another encoding; bytes that Windows-1252 leaves undefined become control characters."""
    return "".join(
        bytes([byte]).decode(encoding) if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in text.encode()
    )


TEXTS = [
    "“I can’t,” she said… ‘Why?’",
    "a café – naïve — jalapeño, Übung, crème brûlée",
    "It costs 5 € or £4, 20 °C, ½ cup ™ ©",
    "She smiled 😀 and clapped 🎉.",
    "«Bonjour», dit-il. À bientôt!",
    "\ufeffOnce",
    "Œuvre Šibenik ž",
]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", TEXTS)
def test_mojibake_is_repaired(text: str, encoding: str) -> None:
    assert mojibake(text, encoding) != text
    assert repair(mojibake(text, encoding)) == text


@pytest.mark.parametrize("text", TEXTS[:4])
def test_mojibake_decoded_twice_is_repaired(text: str) -> None:
    assert repair(mojibake(mojibake(text))) == text


def test_examples_from_tinystories() -> None:
    assert repair("â€œHelp!â€\x9d said Tom. â€œIâ€™m stuck.â€ He cried") == "“Help!” said Tom. “I’m stuck.” He cried"


SOUND = [*TEXTS, "IRMÃ” disse", "AMANHÃ… ontem", "pâte, âge, maïs", "ÂME", "Ærø", "漢字", "Ã", "ð", "â â"]


@pytest.mark.parametrize("text", SOUND)
def test_valid_text_is_left_alone(text: str) -> None:
    assert repair(text) == text


@given(st.text(st.characters(max_codepoint=127)))
@example("")
def test_ascii_is_left_alone(text: str) -> None:
    assert repair(text) == text


@given(st.text())
def test_a_repair_is_final(text: str) -> None:
    assert repair(repair(text)) == repair(text)
