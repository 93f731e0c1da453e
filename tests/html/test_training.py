"""A term of the loss that does nothing, or everything, is pointed at; a picture says in words what it shows."""

import pytest

from distilnlp.html import Evidence
from distilnlp.html.blocks import LeftOut, Picture, Pictures, Warning_
from distilnlp.html.training import doubtful_terms, layers_section, learning_section, losses_section
from distilnlp.report.history import History
from tests.html.conftest import history

pytest.importorskip("matplotlib", reason="the page's pictures are drawn with it")


def log(steps: int, **terms) -> History:
    lines = [
        {"step": step, "loss": 1.0}
        | {f"raw/{name}": value(step) for name, value in terms.items()}
        | {f"weighted/{name}": value(step) for name, value in terms.items()}
        for step in range(1, steps + 1)
    ]
    return History(log=lines)


def test_a_term_that_never_moved_is_pointed_at():
    doubts = doubtful_terms(log(9, still=lambda step: 0.7, other=lambda step: 1 / step))
    assert [doubt.term for doubt in doubts] == ["still"]
    assert doubts[0].why == "never moved: it stayed at 0.7 all the time"


def test_a_term_that_took_over_the_loss_is_pointed_at_and_one_that_adds_nothing():
    doubts = doubtful_terms(log(9, huge=lambda step: 1000 / step, tiny=lambda step: 0.1 / step))
    assert {doubt.term: doubt.why.partition(":")[0] for doubt in doubts} == {
        "huge": "took over",
        "tiny": "adds next to nothing",
    }


def test_terms_that_all_learn_are_not():
    assert doubtful_terms(history({"hard_label": 1.0, "soft_target": 0.8})) == []


def test_the_only_term_of_a_loss_cannot_take_it_over():
    assert doubtful_terms(history({"hard_label": 1.0})) == []


def test_of_a_few_steps_nothing_is_concluded():
    assert doubtful_terms(log(5, still=lambda step: 0.7)) == []


def test_the_losses_of_each_training_are_drawn_with_its_warnings(finished: Evidence):
    blocks = losses_section(finished).blocks
    (alone,) = (block for block in blocks if isinstance(block, Picture))
    assert alone.says == "Losses of teacher over 12 steps: the loss goes from 0.5 to 0.144."
    ((raw, weighted),) = (block.pictures for block in blocks if isinstance(block, Pictures))
    assert "the loss goes from 1.05 to 0.303; " in raw.says
    assert "soft_target from 0.8 to 0.231" in raw.says
    assert "soft_target from 0.4 to 0.115" in weighted.says
    assert (raw.svg.count(">loss<"), weighted.svg.count(">loss<")) == (0, 1)
    still = Evidence(report=finished.report, histories={"student": log(9, still=lambda step: 0.7)})
    warnings = [block.text for block in losses_section(still).blocks if isinstance(block, Warning_)]
    assert warnings == ["student: the term still never moved: it stayed at 0.7 all the time."]


def test_a_log_of_one_line_is_no_curve(finished: Evidence):
    short = Evidence(report=finished.report, histories={"student": log(1, still=lambda step: 0.7)})
    assert losses_section(short) == LeftOut("Losses", "fewer than two losses were logged (training.logging_steps)")


def test_a_learning_curve_says_its_last_and_its_best_score(finished: Evidence):
    (picture,) = (block for block in learning_section(finished).blocks if isinstance(block, Picture))
    assert "student ends at 0.620, its best is 0.620" in picture.says


def test_the_layers_are_told_by_where_they_are_from_and_what_is_compared(finished: Evidence):
    (made_of, compared) = (
        picture.says
        for block in layers_section(finished).blocks
        if isinstance(block, Pictures)
        for picture in block.pictures
    )
    assert "made of: student 1 with teacher 2, student 2 with teacher 4" in made_of
    assert "hidden_state: student 0 with teacher 0" in compared
