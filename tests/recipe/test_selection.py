"""Which stages of a recipe are meant."""

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe.selection import select_stages

NAMES = ("teacher", "ta", "control", "student")


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("ta", ("ta",)),
        ("ta..student", ("ta", "control", "student")),
        ("control..", ("control", "student")),
        ("..ta", ("teacher", "ta")),
        ("student,teacher", ("teacher", "student")),
        ("teacher , control..student", ("teacher", "control", "student")),
        ("..", NAMES),
    ],
)
def test_stages_are_selected_in_their_order(text: str, selected: tuple[str, ...]):
    assert select_stages(text, NAMES) == selected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("techer", "did you mean 'teacher'"),
        ("ta..studnt", "did you mean 'student'"),
        ("student..ta", "'ta' comes before 'student'"),
        ("", "should be stages"),
        ("ta,", "should be stages"),
    ],
)
def test_what_selects_no_stage_is_refused(text: str, message: str):
    with pytest.raises(RequestError, match=message):
        select_stages(text, NAMES)
