"""What is shown holds no character that a terminal obeys or that nobody sees."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from traitvec_core.errors import DefinitionError, TraitvecError, TraitvecWarning
from traitvec_core.visible_text import one_line, visible

# Persian, Hindi and emoji are written with the joiners. Some marks of this category are visible.
KEPT = {"\u200c", "\u200d"}


@given(st.text(st.characters(categories=["Cc", "Cs", "Zl", "Zp", "Cf", "L", "So"])))
def test_no_text_reaches_a_terminal_raw(text: str) -> None:
    for shown in (visible(text), one_line(text), str(TraitvecError(text))):
        for char in shown:
            assert unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"}
            assert unicodedata.bidirectional(char) not in {
                "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
            }  # fmt: skip
        shown.encode()
        assert visible(shown) == shown


def test_controls_are_shown_as_escapes_and_letters_as_they_are() -> None:
    assert visible("\x1b[31m\x9b\x7f\u202e\u2066\u200b\ufeff\ud800\U000e0041\r") == (
        r"\x1b[31m\x9b\x7f\u202e\u2066\u200b\ufeff\ud800\U000e0041\r"
    )
    assert visible("a\n\tb") == r"a\n\tb"
    assert visible("a\n\tb", keep_lines=True) == "a\n\tb"
    for text in ("naïve 你好", "می\u200cخواهم", "👩\u200d👩\u200d👧", "[/red] :smile: \\"):
        assert visible(text) == text
    assert one_line(" a \r\n  b\u2028c ") == "a b c"


def test_every_message_is_one_visible_line() -> None:
    for message in (TraitvecError("a\n\x1b[2Jb"), TraitvecWarning("a\n\x1b[2Jb")):
        assert str(message) == r"a \x1b[2Jb"
    error = DefinitionError("\u202ex", ["bad\nline", *("more" for _ in range(11))])
    assert error.lines[0] == r"\u202ex: bad line"
    assert error.lines[-1] == "and 2 more problems"
    assert len(error.lines) == 11
