"""A recorded teacher teaches what the model taught whose answers were recorded."""

import pytest
import torch
from datasets import Dataset, List, Value

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, LogitMSE, Objective, SoftTarget
from distilnlp.models import Predictor
from distilnlp.models.backend import TorchBackend
from distilnlp.outputs import Needs
from distilnlp.problems import TEACHER_LOGITS, get_problem
from distilnlp.teachers import RecordedTeacher, Teacher, load_teacher
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import NAMES, arguments, dataset, student_model, teacher_model
from tests.tiny import tiny_tokenizer

CLASSES = get_problem("single_label_classification")


def logits_of(model, data) -> torch.Tensor:
    predictor = Predictor(TorchBackend(model, torch.device("cpu")), tiny_tokenizer(), batch_size=4)
    return torch.from_numpy(predictor.logits(list(data["text"])))


def with_answers(data: Dataset, logits: torch.Tensor) -> Dataset:
    return data.add_column(TEACHER_LOGITS, logits.tolist(), feature=List(Value("float32")))


def trained(tmp_path, data, teacher, objective, **changes) -> dict[str, torch.Tensor]:
    student = student_model(dropout=False)
    trainer = DistillationTrainer(
        student, teacher, objective, arguments(tmp_path, **changes), data, processing_class=tiny_tokenizer()
    )
    trainer.train()
    return {name: tensor.detach().clone() for name, tensor in student.named_parameters()}


def assert_same(first, second, atol=1e-6):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=atol, rtol=1e-4)


OBJECTIVES = {
    "at temperature 2": Objective([(0.5, HardLabel()), (0.5, SoftTarget(temperature=2.0))]),
    "at temperature 5": Objective([(1.0, SoftTarget(temperature=5.0))]),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("recorded", ["logits", "probabilities"])
def test_recorded_answers_train_as_the_live_teacher_does(tmp_path, name, recorded):
    """Plain SGD without dropout, so that equal weights are equal losses and gradients at every step."""
    data, objective = dataset(), OBJECTIVES[name]
    logits = logits_of(teacher_model(), data)
    if recorded == "probabilities":
        logits = torch.from_numpy(CLASSES.logits_of(logits.double().softmax(-1).numpy())).float()
    live = trained(tmp_path / "live", data, load_teacher(teacher_model(), tiny_tokenizer()), objective)
    from_file = trained(tmp_path / "file", with_answers(data, logits), RecordedTeacher(NAMES), objective)

    assert_same(from_file, live)


def test_logits_that_are_compared_themselves_are_those_of_the_live_teacher(tmp_path):
    data, objective = dataset(), Objective([(1.0, LogitMSE())])
    live = trained(tmp_path / "live", data, load_teacher(teacher_model(), tiny_tokenizer()), objective)
    recorded = with_answers(data, logits_of(teacher_model(), data))

    assert_same(trained(tmp_path / "file", recorded, RecordedTeacher(NAMES), objective), live)


def test_micro_batches_do_not_change_what_is_learned(tmp_path):
    data = with_answers(dataset(), logits_of(teacher_model(), dataset()))
    objective = OBJECTIVES["at temperature 2"]
    whole = trained(tmp_path / "a", data, RecordedTeacher(NAMES), objective)
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}

    assert_same(trained(tmp_path / "b", data, RecordedTeacher(NAMES), objective, **cut), whole)


def test_answers_in_another_order_are_put_into_that_of_the_data(tmp_path):
    data, objective = dataset(), OBJECTIVES["at temperature 2"]
    logits = logits_of(teacher_model(), data)
    order = [2, 0, 1]
    names = tuple(NAMES[place] for place in order)
    same = trained(tmp_path / "a", with_answers(data, logits), RecordedTeacher(NAMES), objective)
    turned = trained(tmp_path / "b", with_answers(data, logits[:, order]), RecordedTeacher(names), objective)

    assert_same(turned, same)


def test_it_satisfies_the_protocol_and_gives_logits_alone():
    teacher = RecordedTeacher(NAMES)
    teacher.prepare(torch.device("cpu"), Needs(logits=True))
    outputs = teacher({TEACHER_LOGITS: torch.ones(2, 3)})

    assert isinstance(teacher, Teacher)
    assert outputs.logits.shape == (2, 3) and not outputs.hidden_states
    with pytest.raises(RequestError, match="recorded answers and nothing else"):
        teacher.prepare(torch.device("cpu"), Needs(logits=True, hidden_states=frozenset({1})))
    with pytest.raises(RequestError, match="no column 'teacher_logits'"):
        teacher({"input_ids": torch.ones(2, 3)})


def test_a_loss_that_reads_more_than_logits_is_refused_by_name(tmp_path):
    objective = Objective([(1.0, SoftTarget()), (1.0, HiddenState())])
    with pytest.raises(RequestError, match="hidden_state reads more than the logits of a teacher"):
        trained(tmp_path, with_answers(dataset(), torch.zeros(44, 3)), RecordedTeacher(NAMES), objective)


def test_one_number_a_text_needs_no_list():
    outputs = RecordedTeacher(None, "regression")({TEACHER_LOGITS: torch.tensor([0.5, 2.0])})
    assert outputs.logits.tolist() == [[0.5], [2.0]]
