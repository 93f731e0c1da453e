"""A citation, as one line of text and as the section of a docstring."""

from distilnlp.citation import Citation, source_section

WHOLE = Citation("Ba & Caruana", 2014, "On Depth", "arXiv:1312.6184", "section 2", "On text.")


def test_a_citation_is_one_line_of_text() -> None:
    assert str(WHOLE) == "Ba & Caruana 2014, On Depth, arXiv:1312.6184, section 2. On text."
    assert WHOLE.short == "Ba & Caruana 2014, arXiv:1312.6184"


def test_what_is_not_known_leaves_no_gap() -> None:
    assert str(Citation("Lee", 2013, "", "ICML 2013 workshop")) == "Lee 2013, ICML 2013 workshop."


def test_each_citation_begins_a_line_of_the_section() -> None:
    section = source_section([WHOLE, Citation("Lee", 2013, "", "ICML", differs="A " * 100 + "end.")], "")
    lines = section.splitlines()
    assert lines[0] == f"Source: {WHOLE}" and lines[1].startswith("    Lee 2013, ICML. A A")
    assert len(lines) == 4 and all(line.startswith("    ") and len(line) < 115 for line in lines[1:])


def test_without_a_citation_the_reason_stands_there_and_without_either_nothing() -> None:
    assert source_section([], "the usual task loss") == "Source: the usual task loss"
    assert source_section([], "") == ""
