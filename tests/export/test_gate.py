"""The score of a quantised model holds, with as few layers in fp32 as the search needs; or there is no model."""

import pytest

from distilnlp.errors import RunError
from distilnlp.export.gate import Attempt, drop, keep_score, show_attempts

HARM = {"embeddings": 0.02, "layer.0.attention": 0.2, "layer.0.output": 0.1, "classifier": 0.01}


def gated(max_drop: float, said: list[str] | None = None, **changes: object):
    """A model is what is left out of it; what is quantised takes its harm off the score."""
    settings = {
        "make": tuple,
        "score": lambda made: 0.9 - sum(harm for name, harm in HARM.items() if name not in made),
        "harm": lambda made: sum(harm for name, harm in HARM.items() if name not in made),
        "before": 0.9,
        "max_drop": max_drop,
        "say": [].append if said is None else said.append,
        **changes,
    }
    return keep_score(HARM, **settings)


def test_nothing_is_left_out_where_the_score_holds() -> None:
    found = gated(0.5)
    assert found.made == found.left_out == ()
    assert len(found.attempts) == 1


def test_the_groups_that_hurt_most_are_left_out_until_it_holds() -> None:
    said: list[str] = []
    found = gated(0.04, said)
    assert found.made == ("layer.0.attention", "layer.0.output")
    assert [round(each.score, 2) for each in found.attempts] == [0.57, 0.77, 0.87]
    assert said[0] == "with all layers in int8 the score falls by 36.7%, to 0.5700"
    assert said[-1] == "with layer.0.attention in fp32 too the score falls by 14.4%, to 0.7700"


def test_there_is_no_model_where_it_never_holds() -> None:
    with pytest.raises(RunError, match=r"int8 costs more than 0\.5% of the score \(0\.9000 in fp32\)") as refused:
        gated(0.005)
    assert "all in int8 0.5700, +layer.0.attention 0.7700, +layer.0.output 0.8700, +embeddings 0.8900" in str(
        refused.value
    )


def test_of_an_error_more_is_worse() -> None:
    found = gated(0.1, score=lambda made: 1.0 + (0.2 if "classifier" not in made else 0.0), before=1.0, harm=len)
    assert found.left_out == ()  # 1.2 is better than 1.0 where higher is better
    with pytest.raises(RunError):
        gated(0.1, score=lambda made: 1.2, before=1.0, higher_is_better=False)


def test_a_drop_is_a_share_of_the_score() -> None:
    assert drop(0.8, 0.6) == pytest.approx(0.25)
    assert drop(0.8, 0.9) < 0
    assert drop(0.5, 0.75, higher_is_better=False) == pytest.approx(0.5)
    assert drop(-0.5, -0.75) == pytest.approx(0.5)
    assert drop(0.0, -0.1) == pytest.approx(0.1)


def test_attempts_are_shown_in_their_order() -> None:
    assert show_attempts([Attempt((), 0.5, 0.1), Attempt(("a", "b"), 0.6, 0.0)]) == "all in int8 0.5000, +b 0.6000"
