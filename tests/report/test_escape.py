"""Names of somebody else's choice do not change the text that they stand in."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.report.escape import markdown, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", "a \\| b"),
        ("a\n---\n# b", "a --- \\# b"),
        ("`x`", "\\`x\\`"),
        ("<script>", "\\<script\\>"),
        ("[x](http://y)", "\\[x\\](http://y)"),
        ("ends with \\", "ends with \\\\"),
        ("a\u202eb", "a\ufffdb"),
        ("a\x1b[31mb", "a\ufffd\\[31mb"),
        ("a\ud800", "a\ufffd"),
        ("student_2 (control)", "student_2 (control)"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),  # two people joined into one sign
    ],
)
def test_syntax_is_text_and_what_is_hidden_is_seen(text: str, shown: str):
    assert markdown(text) == shown


@given(st.text(st.characters()))
def test_a_name_is_one_line_that_can_be_written_and_printed(text: str):
    for shown in (one_line(text), markdown(text)):
        assert len(shown.splitlines()) <= 1
        assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cs")]
        shown.encode()


def test_what_is_visible_keeps_its_lines():
    assert visible("a:\n\tb\u202e") == "a:\n\tb\ufffd"
