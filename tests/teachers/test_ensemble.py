"""A teacher that is made of several: what it answers, whom a term compares with, and what is refused before step 0."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.losses import AttentionScores, HardLabel, HiddenState, Objective, SoftTarget
from distilnlp.outputs import Needs
from distilnlp.teachers import CacheSettings, EMATeacher, EnsembleTeacher, FrozenTeacher, RecordedTeacher, load_teacher
from distilnlp.teachers.cached import Use
from tests.runs import NAMES, dataset, largest_difference, make_trainer, snapshot, student_model, teacher_model
from tests.tiny import tiny_tokenizer

LOGITS = Objective([(0.5, HardLabel()), (0.5, SoftTarget())])
BATCH = {"input_ids": torch.tensor([[2, 7, 8, 30, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}


def loaded(**changes: Any) -> FrozenTeacher:
    return load_teacher(teacher_model(**changes), tiny_tokenizer())


def two(**settings: Any) -> EnsembleTeacher:
    """One of four layers, 32 wide, and one of three, 16 wide."""
    return EnsembleTeacher({"large": loaded(), "small": loaded(layers=3, hidden=16, seed=5)}, **settings)


def answer(teacher: Any, needs: Needs | None = None) -> Any:
    teacher.prepare(torch.device("cpu"), needs or Needs(logits=True))
    return teacher(BATCH)


def turned(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, which counts its labels in the reverse order."""
    with torch.no_grad():
        for each in (model.classifier.weight, model.classifier.bias):
            each.copy_(each.flip(0).clone())
    model.config.id2label = dict(enumerate(reversed(NAMES)))
    model.config.label2id = {name: place for place, name in model.config.id2label.items()}
    return model


def test_it_answers_with_the_mean_of_members_of_any_size() -> None:
    alone = [answer(loaded()), answer(loaded(layers=3, hidden=16, seed=5))]
    together = answer(two())
    torch.testing.assert_close(together.get_logits(), sum(each.get_logits() for each in alone) / 2)
    assert not together.hidden_states and not together.members and not together.get_logits().requires_grad


def test_copies_of_a_teacher_train_the_student_that_it_trains_alone(tmp_path: Path) -> None:
    students = []
    for teacher in (loaded(), EnsembleTeacher({"one": loaded(), "other": loaded()}, combine="probabilities")):
        trainer = make_trainer(tmp_path, teacher=teacher, objective=LOGITS)
        trainer.train()
        students.append(trainer.student)
    assert largest_difference(*students) < 1e-6


@pytest.mark.parametrize("reference", ["data", "nobody"])
def test_members_that_count_their_labels_otherwise_are_put_into_one_order(tmp_path: Path, reference: str) -> None:
    plain = [loaded(), loaded(layers=3, seed=5)]
    ours = EnsembleTeacher({"a": plain[0], "b": plain[1]})
    mixed = EnsembleTeacher({"a": loaded(), "b": load_teacher(turned(teacher_model(layers=3, seed=5)), None)})
    settings: dict[str, Any] = {"objective": Objective([(1.0, SoftTarget())])}
    if reference == "nobody":
        rows = dataset()
        settings["train_dataset"] = rows.remove_columns("label")
        settings["model"] = student_model(label_names=["LABEL_0", "LABEL_1", "LABEL_2"])
    for teacher in (ours, mixed):
        make_trainer(tmp_path, teacher=teacher, **settings)
    torch.testing.assert_close(answer(ours).get_logits(), answer(mixed).get_logits())


def test_each_term_is_compared_with_the_teacher_that_it_names_and_only_that_is_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = EnsembleTeacher({"logits": loaded(layers=3, hidden=16), "features": loaded()}, weights=[1.0, 0.0])
    objective = Objective(
        [
            (1.0, SoftTarget()),
            (1.0, HiddenState(), {"teacher": "features"}),
            (1.0, AttentionScores(), {"teacher": "features"}),
        ]
    )
    trainer = make_trainer(tmp_path, teacher=teacher, objective=objective)
    first, features = teacher.members["logits"], teacher.members["features"]
    before = [snapshot(each.model) for each in (first, features)]
    asked: list[Needs] = []
    release = teacher.release
    monkeypatch.setattr(teacher, "release", lambda: (asked.extend([first.needs, features.needs]), release()))
    trainer.train()
    assert asked[0] == Needs(logits=True)
    assert not asked[1].logits and asked[1].hidden_states == {2, 4} and asked[1].attention
    for model, old in zip((first.model, features.model), before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in model.state_dict().items())


def test_a_term_gets_exactly_the_outputs_of_its_teacher() -> None:
    """The same objective with that teacher alone has the same value."""
    needs = Needs(logits=True, members={"small": Needs(hidden_states=frozenset({1, 3}))})
    outputs = answer(two(), needs)
    alone = answer(loaded(layers=3, hidden=16, seed=5), Needs(hidden_states=frozenset({1, 3})))
    assert outputs.members.keys() == {"small"}
    for layer in (1, 3):
        assert torch.equal(outputs.members["small"].get_hidden_state(layer), alone.get_hidden_state(layer))


def test_a_loss_between_logits_may_name_its_teacher_too(tmp_path: Path) -> None:
    """Each learns from its own; the labels of the one that nobody compares logits with may be others."""
    other = load_teacher(teacher_model(label_names=["x", "y"], num_labels=2), tiny_tokenizer())
    teacher = EnsembleTeacher({"task": load_teacher(turned(teacher_model()), tiny_tokenizer()), "body": other})
    objective = Objective([(1.0, SoftTarget(), {"teacher": "task"}), (1.0, HiddenState(), {"teacher": "body"})])
    trainer = make_trainer(tmp_path, teacher=teacher, objective=objective)
    trainer.train()
    alone = make_trainer(tmp_path, teacher=loaded(), objective=Objective([(1.0, SoftTarget()), (1.0, HiddenState())]))
    alone.train()
    # The body has the weights of the teacher alone, up to its head.
    assert largest_difference(trainer.student, alone.student) < 1e-6


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (
            Objective([(1.0, SoftTarget()), (1.0, HiddenState())]),
            r"hidden_state reads more than logits.*\(large, small\)",
        ),
        (
            Objective([(1.0, SoftTarget()), (1.0, HiddenState(), {"teacher": "lage"})]),
            "unknown teacher of hidden_state: 'lage': did you mean 'large'?",
        ),
        (Objective([(1.0, SoftTarget(), {"teacher": "large"})]), "of the teacher small nothing is read"),
    ],
)
def test_roles_that_cannot_be_are_refused(tmp_path: Path, objective: Objective, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        make_trainer(tmp_path, teacher=two(), objective=objective).train()


def test_a_name_needs_several_teachers(tmp_path: Path) -> None:
    objective = Objective([(1.0, SoftTarget(), {"teacher": "large"})])
    with pytest.raises(RequestError, match="soft_target names its teacher, 'large', and the only one is"):
        make_trainer(tmp_path, objective=objective)
    with pytest.raises(RequestError, match="the teacher of hard_label is 'large', and it compares with no teacher"):
        Objective([(1.0, HardLabel(), {"teacher": "large"})])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: EnsembleTeacher(()), "at least one teacher; got none"),
        (
            lambda: EnsembleTeacher((loaded(), loaded())),
            "two of the teachers are called BertForSequenceClassification",
        ),
        (
            lambda: EnsembleTeacher((loaded(), EMATeacher())),
            "EMATeacher follows a training and cannot be one of several",
        ),
        (lambda: EnsembleTeacher({"a": 3}), "int is no teacher"),
        (lambda: two(weights=[1.0]), r"weights has 1 numbers, and there are 2 teachers \(large, small\)"),
        (lambda: two(combine="mean"), "combine is 'mean'"),
        (
            lambda: EnsembleTeacher({"a": loaded(), "b": loaded(label_names=["good", "bad", "ugly"])}),
            "the teacher b: the labels of the data are bad, good, mixed and the model's are good, bad, ugly",
        ),
        (
            lambda: EnsembleTeacher({"a": loaded(), "b": loaded(label_names=["good", "bad"])}),
            "the teacher b: the labels of the data are bad, good, mixed and the model's are good, bad",
        ),
        (
            lambda: EnsembleTeacher(
                {"a": loaded(), "b": loaded(num_labels=1, label_names=None, problem_type="regression")}
            ),
            "the teacher b's head is for 'regression'",
        ),
    ],
)
def test_what_is_no_ensemble_is_refused_before_the_first_step(tmp_path: Path, make: Any, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        make_trainer(tmp_path, teacher=make(), objective=LOGITS)


def test_members_that_read_other_tokens_are_refused(tmp_path: Path) -> None:
    other = tiny_tokenizer()
    other.add_tokens(["zebra"])
    vocab = {word: place for place, word in enumerate(reversed(list(other.get_vocab())))}
    strange = load_teacher(teacher_model(seed=5), type(other)(vocab=vocab))
    with pytest.raises(RequestError, match="the teacher b reads other tokens than the first one"):
        make_trainer(tmp_path, teacher=EnsembleTeacher({"a": loaded(), "b": strange}), objective=LOGITS)


def test_a_member_whose_labels_have_no_names_has_to_show_its_order(tmp_path: Path) -> None:
    nameless = loaded(label_names=["LABEL_0", "LABEL_1", "LABEL_2"], seed=9)
    teacher = EnsembleTeacher({"a": loaded(), "b": nameless})
    with pytest.raises(RequestError, match="labels have no names"):
        make_trainer(tmp_path, teacher=teacher, objective=LOGITS).train()


def test_weights_by_loss_need_labels(tmp_path: Path) -> None:
    rows = dataset().remove_columns("label")
    with pytest.raises(RequestError, match="weights: loss weighs teachers by labels, and the training data have none"):
        make_trainer(
            tmp_path,
            teacher=two(weights="loss"),
            objective=Objective([(1.0, SoftTarget())]),
            train_dataset=rows,
        )


@pytest.mark.parametrize(
    "settings", [{"weights": "loss"}, {"weights": "confidence"}, {"combine": "stochastic"}], ids=str
)
def test_it_trains(tmp_path: Path, settings: dict[str, Any]) -> None:
    trainer = make_trainer(tmp_path, teacher=two(**settings), objective=LOGITS)
    start = snapshot(trainer.student)
    trainer.train()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in trainer.student.state_dict().items())


def labelled(problem: str) -> Dataset:
    rows = dataset()
    if problem == "regression":
        return rows.remove_columns("label").add_column("label", [float(place % 5) for place in range(len(rows))])
    return rows.remove_columns("label").add_column("label", [[1.0, 0.0, float(i % 2)] for i in range(len(rows))])


@pytest.mark.parametrize(
    ("problem", "combine"),
    [
        ("regression", "logits"),
        ("multi_label_classification", "logits"),
        ("multi_label_classification", "probabilities"),
    ],
)
def test_numbers_and_several_labels_are_put_together(tmp_path: Path, problem: str, combine: Any) -> None:
    names = ["LABEL_0"] if problem == "regression" else list(NAMES)
    settings = {"label_names": names, "problem_type": problem}
    teacher = EnsembleTeacher({"a": loaded(**settings), "b": loaded(seed=5, **settings)}, combine=combine)
    trainer = make_trainer(
        tmp_path,
        teacher=teacher,
        model=student_model(**settings),
        train_dataset=labelled(problem),
        objective=None,
    )
    trainer.train()
    assert any("weighted/" in key for entry in trainer.state.log_history for key in entry)


def test_probabilities_of_numbers_are_refused(tmp_path: Path) -> None:
    settings = {"label_names": ["LABEL_0"], "problem_type": "regression"}
    teacher = EnsembleTeacher({"a": loaded(**settings), "b": loaded(seed=5, **settings)}, combine="probabilities")
    with pytest.raises(RequestError, match="combine: probabilities needs probabilities of classes or labels"):
        make_trainer(
            tmp_path,
            teacher=teacher,
            model=student_model(**settings),
            train_dataset=labelled("regression"),
            objective=None,
        ).train()


def test_recorded_answers_may_be_one_of_several() -> None:
    recorded = RecordedTeacher(NAMES, name="column")
    teacher = EnsembleTeacher({"live": loaded(), "recorded": recorded})
    teacher.prepare(torch.device("cpu"), Needs(logits=True))
    numbers = torch.tensor([[3.0, 0.0, 1.0]])
    found = teacher({**BATCH, "teacher_logits": numbers}).get_logits()
    torch.testing.assert_close(found, (answer(loaded()).get_logits() + numbers) / 2)
    assert teacher.fingerprint() is None  # what stands in the data is no teacher's own


# ---- kept answers ----


def test_its_answers_are_kept_as_one_and_train_the_same_student(tmp_path: Path) -> None:
    students = []
    uses: tuple[Use, ...] = ("never", "always")
    for use in uses:
        cache = CacheSettings(use=use, folder=str(tmp_path / "cache"))
        trainer = make_trainer(tmp_path, teacher=two(combine="probabilities"), objective=LOGITS, cache=cache)
        trainer.train()
        students.append(trainer.student)
    assert largest_difference(*students) < 1e-6
    assert len([each for each in (tmp_path / "cache").iterdir() if each.is_dir()]) == 1


def test_any_change_of_members_and_settings_is_another_fingerprint() -> None:
    made = [
        two(),
        two(combine="probabilities"),
        two(weights=[0.6, 0.4]),
        two(weights="confidence"),
        EnsembleTeacher({"large": loaded(), "small": loaded(layers=3, hidden=16, seed=6)}),
    ]
    for each in made:
        each.prepare(torch.device("cpu"), Needs(logits=True))
    marks = [each.fingerprint() for each in made]
    assert None not in marks and len(set(marks)) == len(marks)
    assert made[0].fingerprint() == marks[0]


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        ({"combine": "stochastic"}, LOGITS),
        ({"weights": "loss"}, LOGITS),
        ({}, Objective([(1.0, SoftTarget()), (1.0, HiddenState(), {"teacher": "small"})])),
    ],
)
def test_answers_that_change_or_are_of_one_member_are_not_kept(
    tmp_path: Path, settings: dict[str, Any], objective: Objective
) -> None:
    trainer = make_trainer(tmp_path, teacher=two(**settings), objective=objective, cache=CacheSettings(use="always"))
    with pytest.raises(
        RequestError, match=r"cache\.use=always, and the answers of ensemble of large, small are not kept"
    ):
        trainer.train()


# ---- one drawn for each step ----


class Noting(EnsembleTeacher):
    """Notes how many steps were done at each draw, and who was asked."""

    drawn: list[tuple[int, int]]

    def __call__(self, batch: Any) -> Any:
        (place,) = self.combination.asked(2, self._seed, self._steps)
        self.drawn.append((self._steps, place))
        return super().__call__(batch)


def noting() -> Noting:
    made = Noting({"large": loaded(), "small": loaded(layers=3, hidden=16, seed=5)}, combine="stochastic")
    made.drawn = []
    return made


@pytest.mark.slow
def test_one_is_drawn_for_each_step_and_a_resumed_training_draws_the_same(tmp_path: Path) -> None:
    args = {"optim": "adamw_torch", "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3}
    args |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    teacher = noting()
    whole = make_trainer(tmp_path / "whole", teacher=teacher, objective=LOGITS, args=args)
    whole.train()
    by_step = dict(teacher.drawn)
    assert len(by_step) == 12 and set(by_step.values()) == {0, 1} and len(teacher.drawn) > 12
    assert all(by_step[step] == place for step, place in teacher.drawn)  # micro-batches of a step ask the same one
    expected = snapshot(whole.student)
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "broken" / "checkpoint-3")
    again = noting()
    resumed = make_trainer(tmp_path / "broken", teacher=again, objective=LOGITS, args=args)
    resumed.train(resume_from_checkpoint=True)
    assert dict(again.drawn) == {step: place for step, place in by_step.items() if step >= 3}
    found = snapshot(resumed.student)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
