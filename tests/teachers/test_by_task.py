"""A teacher for each of several tasks."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models.task_heads import join_tasks
from distilnlp.outputs import Needs
from distilnlp.part import Training
from distilnlp.problems.several_tasks import TASK_ID
from distilnlp.teachers import ByTaskTeacher, EMATeacher, EnsembleTeacher, load_teacher
from tests.tiny import tiny_model, tiny_tokenizer

IDS = torch.tensor([[2, 7, 8, 3]])


def teacher(labels=3, seed=0, **sizes):
    return load_teacher(tiny_model("bert", num_labels=labels, seed=seed, **sizes), tiny_tokenizer())


def student():
    return join_tasks({"a": tiny_model("bert", num_labels=3), "b": tiny_model("bert", num_labels=2)})


def test_a_batch_is_answered_by_the_teacher_of_its_task():
    """They are of any size, and given in any order; what is needed of each may differ."""
    members = {"b": teacher(2, seed=1, hidden=16), "a": teacher(3, seed=2, layers=3)}
    both = ByTaskTeacher(members)
    both.accept(student())
    needs = Needs(members={"a": Needs(logits=True), "b": Needs(logits=True, hidden_states=frozenset({1}))})
    both.prepare(torch.device("cpu"), needs)
    for place, name in enumerate("ab"):
        answer = both({"input_ids": IDS, TASK_ID: torch.tensor([place])})
        torch.testing.assert_close(answer.logits, members[name].model(input_ids=IDS).logits)
        assert set(answer.hidden_states) == ({1} if name == "b" else set())
    both.release()


def test_an_ensemble_teaches_a_task_and_its_draws_are_kept_with_the_training():
    drawn = EnsembleTeacher({"x": teacher(3, 1), "y": teacher(3, 2)}, combine="stochastic")
    both = ByTaskTeacher({"a": drawn, "b": teacher(2)})
    both.attach(Training(student(), student(), torch.device("cpu"), seed=1))
    both.on_step(0.1)
    both.on_step(0.2)
    kept = both.state()
    assert {name: int(each) for name, each in kept.items()} == {"a.steps": 2}
    both.attach(Training(student(), student(), torch.device("cpu"), seed=1))
    assert int(both.state()["a.steps"]) == 0
    both.load_state(kept)
    assert int(both.state()["a.steps"]) == 2


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": "t"}, "for two tasks or more; got a"),
        ({"a": "t", "b": EMATeacher(decay=0.9)}, "EMATeacher cannot teach the task b"),
        ({"a": "t", "b": 3}, "int cannot teach the task b"),
    ],
)
def test_what_cannot_teach_a_task_is_refused(members, message):
    given = {name: teacher() if each == "t" else each for name, each in members.items()}
    with pytest.raises(RequestError, match=message):
        ByTaskTeacher(given)


@pytest.mark.parametrize(
    ("names", "message"),
    [("ac", "unknown task 'c'"), ("abc", "unknown task 'c'")],
)
def test_a_student_of_other_tasks_is_refused(names, message):
    with pytest.raises(RequestError, match=message):
        ByTaskTeacher({name: teacher() for name in names}).accept(student())


def test_a_task_without_a_teacher_is_refused():
    three = join_tasks({name: tiny_model("bert") for name in "abc"})
    with pytest.raises(RequestError, match="the task c has no teacher"):
        ByTaskTeacher({"a": teacher(), "b": teacher()}).accept(three)
