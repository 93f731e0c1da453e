"""Students that teach one another: what each learns from whom, and what of it is kept."""

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, Value
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Objective, Response, SoftTarget
from distilnlp.models.capture import Capture, model_info
from distilnlp.outputs import Answers, Outputs
from distilnlp.part import Part, Pass, Training
from distilnlp.teachers import Peers
from distilnlp.teachers.collaborate import COMBINATIONS
from tests.masked import masked_model, texts_alone
from tests.runs import NAMES, dataset, largest_difference, make_trainer, snapshot, student_model, without_dropout
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.test_ranking import queries, ranker

ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3}
DML = Objective([(1.0, HardLabel()), (1.0, SoftTarget(temperature=1.0))])


class Step:
    """A student and its peers at work on one batch, without a trainer."""

    def __init__(self, peers: Peers, student: PreTrainedModel, objective: Objective = DML) -> None:
        self.peers, self.student = peers, student.train()
        peers.accept(student)
        self.objective = objective.resolve(model_info(student), peers.info)
        peers.prepare(torch.device("cpu"), self.objective.needs_teacher())
        peers.attach(Training(student, student, torch.device("cpu"), 0, peers, self.objective))
        self.capture = Capture(student, self.objective.needs_student())
        tokens = tiny_tokenizer()(["the film was good", "a dull book", "the meal is blue"], padding=True)
        self.batch = {name: torch.tensor(value) for name, value in tokens.items()} | {
            "labels": torch.tensor([1, 0, 2])
        }

    @property
    def inputs(self) -> dict[str, Tensor]:
        return {name: self.batch[name] for name in self.batch if name != "labels"}

    def losses(self) -> tuple[Outputs, Answers, Tensor, dict[str, Tensor], Tensor]:
        """What the student gave, what it was told, its loss with its terms, and the sum of its peers' losses."""
        self.capture.start()
        logits = self.student(**self.inputs).logits
        own = self.capture.finish(logits, self.batch["attention_mask"])
        self.peers.hear(own)
        answers = self.peers(self.batch)
        total, raw = self.objective(own, answers, self.batch)
        term = self.peers.term(Pass(self.student, own, None, self.batch, 0.0))
        return own, answers, total, raw, term


def quiet(seed: int, **changes: Any) -> PreTrainedModel:
    return student_model(dropout=False, seed=seed, **changes)


def gradients(model: nn.Module) -> float:
    return sum(float(weight.grad.abs().sum()) for weight in model.parameters() if weight.grad is not None)


@pytest.mark.parametrize("count", [1, 2])
def test_each_learns_from_the_labels_and_from_all_others(count: int) -> None:
    """L_i = CE_i + 1 / (K - 1) * sum of KL(p_j || p_i), in float64 from the logits alone."""
    step = Step(Peers([quiet(seed) for seed in range(3, 3 + count)]), quiet(2))
    own, answers, total, _, term = step.losses()
    assert isinstance(answers, tuple) and len(answers) == count
    logits = [each.get_logits().detach().double() for each in (own, *answers)]
    expected = []
    for place, mine in enumerate(logits):
        others = [each.softmax(-1) for other, each in enumerate(logits) if other != place]
        divergences = [(p * (p.log() - mine.log_softmax(-1))).sum(-1).mean() for p in others]
        expected.append(F.cross_entropy(mine, step.batch["labels"]) + sum(divergences) / count)
    torch.testing.assert_close(total.double(), expected[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(term.double(), sum(expected[1:]), atol=1e-6, rtol=1e-5)


def test_identical_peers_teach_nothing() -> None:
    student = quiet(2)
    student_alone = copy.deepcopy(student)
    step = Step(Peers([copy.deepcopy(student), copy.deepcopy(student)]), student)
    _, _, total, raw, _ = step.losses()
    total.backward()
    assert abs(float(raw["soft_target"].detach())) < 1e-6
    F.cross_entropy(
        student_alone(**step.inputs).logits,
        step.batch["labels"],
    ).backward()
    for one, two in zip(student.parameters(), student_alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-6, rtol=1e-4)


def test_no_gradient_goes_from_one_into_another() -> None:
    step = Step(
        Peers([quiet(3), quiet(4)]), quiet(2), Objective([*((1.0, loss) for loss in (HardLabel(), HiddenState()))])
    )
    _, _, total, _, term = step.losses()
    total.backward()
    assert gradients(step.student) > 0 and not any(gradients(peer) for peer in step.peers.models)
    step.student.zero_grad(set_to_none=True)
    term.backward()
    assert gradients(step.student) == 0 and all(gradients(peer) > 0 for peer in step.peers.models)


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_all_learn_from_one_target_that_all_make(combine: str) -> None:
    """A text without a label is compared with the mean; the target is a constant for everybody."""
    step = Step(Peers([quiet(3), quiet(4)], combine=combine), quiet(2))
    step.batch["labels"][2] = -100
    own, answers, total, _, term = step.losses()
    assert isinstance(answers, tuple) and len(answers) == 1 and not answers[0].get_logits().requires_grad
    everybody = [own.get_logits(), *(peer(**step.inputs).logits for peer in step.peers.models)]
    logits = torch.stack([each.detach() for each in everybody])
    target = answers[0].get_logits()
    torch.testing.assert_close(target[:2], COMBINATIONS[combine](logits[:, :2], step.batch["labels"][:2]))
    torch.testing.assert_close(target[2], logits[:, 2].mean(dim=0))
    p = target.softmax(-1)
    expected = [
        F.cross_entropy(each, step.batch["labels"], reduction="sum") / 3
        + (p * (p.log() - each.log_softmax(-1))).sum(-1).mean()
        for each in logits
    ]
    torch.testing.assert_close(total, expected[0])
    torch.testing.assert_close(term, expected[1] + expected[2])


class CountPasses(TrainerCallback):
    """How often each model reads a batch in training."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.passes: Counter[str] = Counter()

    def on_train_begin(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
        for name, each in {"student": model, **dict(zip("ab", self.peers.models, strict=True))}.items():
            each.register_forward_hook(lambda module, args, output, name=name: self.passes.update([name]))


def test_peers_are_made_read_each_batch_once_and_are_trained_beside_a_student_that_stays_plain(tmp_path: Path) -> None:
    peers, student = Peers(count=2), student_model()
    plain, body = set(student.state_dict()), snapshot(student.bert)
    counted = CountPasses(peers)
    args = {**ADAMW, "save_strategy": "steps", "save_steps": 3, "max_steps": 3, "logging_steps": 1}
    trainer = make_trainer(tmp_path, model=student, teacher=peers, objective=DML, args=args, callbacks=[counted])
    trainer.train()
    assert counted.passes == {"student": 3, "a": 3, "b": 3}
    first, second = peers.models
    assert largest_difference(first, second) > 0 and largest_difference(first, student) > 0
    assert any(not torch.equal(body[name], each) for name, each in snapshot(first.bert).items())
    assert set(load_file(tmp_path / "checkpoint-3" / "model.safetensors")) == plain == set(student.state_dict())
    assert load_file(tmp_path / "checkpoint-3" / "distilnlp_peers.safetensors")
    first.save_pretrained(tmp_path / "peer")
    assert largest_difference(AutoModelForSequenceClassification.from_pretrained(tmp_path / "peer"), first) == 0.0
    log = trainer.state.log_history[0]
    assert log["raw/soft_target"] > 0 and log["raw/peers"] > 0


@pytest.mark.parametrize("start", ["head", "random"])
def test_each_peer_has_a_start_of_its_own(start: str) -> None:
    student = quiet(2)
    step = Step(Peers(count=2, start=start), student)
    first, second = step.peers.models
    assert not torch.equal(first.classifier.weight, second.classifier.weight)
    assert not torch.equal(first.classifier.weight, student.classifier.weight)
    alike = torch.equal(first.bert.pooler.dense.weight, student.bert.pooler.dense.weight)
    assert alike == (start == "head")
    again = Step(Peers(count=2, start=start), quiet(2)).peers.models
    assert largest_difference(first, again[0]) == largest_difference(second, again[1]) == 0.0


class KeepAnswers(TrainerCallback):
    """What teaches the student, after each step: the weights of the copies, if there are any."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.copies: list[dict[str, Tensor]] = []
        self.living: list[dict[str, Tensor]] = []
        self.teaches: list[bool] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.teaches.append(self.peers.teaches)
        state = self.peers.state()
        self.copies.append({name: each.clone() for name, each in state.items() if name.startswith("copies.1.")})
        self.living.append({name: each.clone() for name, each in state.items() if name.startswith("models.0.")})


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.values(), two.values(), strict=True))


def test_copies_teach_from_the_end_of_the_burn_in_and_stay_between_refreshes(tmp_path: Path) -> None:
    """6 steps an epoch, 12 in all; a burn-in of 3 of them, then anew after every 4."""
    peers = Peers(refresh=4, burn_in=0.25)
    keep = KeepAnswers(peers)
    args = {**ADAMW, "num_train_epochs": 2, "logging_steps": 1}
    trainer = make_trainer(tmp_path, teacher=peers, objective=DML, args=args, callbacks=[keep])
    trainer.train()
    assert keep.teaches == [False] * 3 + [True] * 9
    taught = [log["raw/soft_target"] for log in trainer.state.log_history if "raw/soft_target" in log]
    assert taught[:3] == [0.0] * 3 and all(value > 0 for value in taught[3:])
    for step in range(3, 12):
        made_at = 3 if step < 7 else 7 if step < 11 else 11
        assert same(keep.copies[step], keep.living[made_at]), step
    assert not same(keep.copies[6], keep.copies[7])


def test_living_peers_teach_from_the_end_of_the_burn_in(tmp_path: Path) -> None:
    args = {"num_train_epochs": 1, "logging_steps": 1}
    trainer = make_trainer(tmp_path, teacher=Peers(burn_in=0.5), objective=DML, args=args)
    trainer.train()
    taught = [log["raw/soft_target"] > 0 for log in trainer.state.log_history if "raw/soft_target" in log]
    assert taught == [False] * 3 + [True] * 3


def test_the_student_ends_with_the_weights_of_the_best(tmp_path: Path) -> None:
    """All texts are of class 1, which the peer always says and the student never; and nobody moves."""
    data = dataset().filter(lambda row: row["label"] == 1)
    known, student = student_model(seed=9), student_model()
    with torch.no_grad():
        known.classifier.bias[1] += 100
        student.classifier.bias[1] -= 100
    args = {"learning_rate": 0.0, "max_steps": 1, "metric_for_best_model": "accuracy"}
    peers = Peers([known], saved="best")
    settings = {"model": student, "teacher": peers, "objective": DML, "train_dataset": data, "eval_dataset": data}
    trainer = make_trainer(tmp_path, args=args, **settings)
    trainer.train()
    assert list(trainer.candidate_scores) == ["peer_1", "student"]
    assert trainer.candidate_scores["peer_1"] > trainer.candidate_scores["student"]
    assert largest_difference(student, known) == 0.0
    logged = [log for log in trainer.state.log_history if "eval_peer_1_accuracy" in log]
    assert logged[0]["eval_peer_1_accuracy"] == trainer.candidate_scores["peer_1"]
    assert trainer.evaluate()["eval_accuracy"] == trainer.candidate_scores["peer_1"]


class Reads(Part):
    """Reads the teacher."""

    name, uses_teacher = "reads", True


def shared() -> dict[str, Any]:
    student = student_model()
    return {"model": student, "teacher": Peers([student])}


def adapted() -> dict[str, Any]:
    from peft import LoraConfig, get_peft_model

    return {"model": get_peft_model(student_model(), LoraConfig(task_type="SEQ_CLS", target_modules=["query"], r=2))}


REFUSED: dict[str, tuple[Any, str]] = {
    "the student itself": (shared, "shares weights with the student or another peer"),
    "one model twice": (lambda: {"teacher": Peers([*[student_model()] * 2])}, "shares weights with"),
    "a teacher besides": (lambda: {"teacher": student_model(seed=5), "parts": [Peers()]}, "give them as teacher="),
    "a part that reads one answer": (lambda: {"parts": [Reads()]}, "reads needs one answer of the teacher"),
    "other labels": (lambda: {"teacher": Peers([student_model(label_names=("a", "b", "c"))])}, "counts its labels"),
    "fewer labels": (
        lambda: {"teacher": Peers([student_model(label_names=("bad", "good"))])},
        "peers of the same task",
    ),
    "no labels": (lambda: {"objective": Objective([(1.0, SoftTarget())])}, "nothing would be trained: add hard_label"),
    "adapters": (adapted, "this student trains adapters"),
    "nothing to choose by": (lambda: {"teacher": Peers(saved="best")}, "give an evaluation set"),
    "a target of more than logits": (
        lambda: {
            "teacher": Peers(combine="naive"),
            "objective": Objective([(1.0, HardLabel()), (1.0, HiddenState())]),
        },
        "the objective compares more",
    ),
    "a burn-in to the end": (lambda: {"teacher": Peers(burn_in=0.9), "args": {"max_steps": 5}}, "comes after 5 steps"),
    "copies of the last step": (lambda: {"teacher": Peers(refresh=1)}, "comes after 1 steps"),
    "another size": (
        lambda: {
            "teacher": Peers([student_model(layers=3)]),
            "objective": Objective([(1.0, HardLabel()), (1.0, HiddenState())]),
        },
        "the peers have other sizes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_learn_together_is_refused_before_the_first_step(tmp_path: Path, case: str) -> None:
    settings, message = REFUSED[case]
    with pytest.raises(RequestError, match=message):
        make_trainer(
            tmp_path, **{"teacher": Peers(), "objective": DML, "args": {"max_steps": 1}, **settings()}
        ).train()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0: give 1 or more"),
        ({"refresh": 0}, "refresh is 0: give 1 or more"),
        ({"burn_in": 1.0}, r"in \[0, 1\)"),
        ({"start": "same"}, "start is 'same'"),
        ({"saved": "last"}, "saved is 'last'"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Peers(**settings)
    with pytest.raises(RequestError, match="leave one of the two out"):
        Peers([student_model()], count=1)


def test_peers_of_another_architecture_compare_their_logits(tmp_path: Path) -> None:
    peers = Peers([without_dropout(student_model("distilbert", layers=1))])
    trainer = make_trainer(tmp_path, teacher=peers, objective=DML, args={"max_steps": 2})
    assert trainer.train().global_step == 2
    with pytest.raises(RuntimeError, match="while their student trains"):
        peers({})


def number() -> dict[str, Any]:
    rows = dataset(16).cast_column("label", Value("float32"))
    return {"model": tiny_model("bert", num_labels=1, problem_type="regression"), "train_dataset": rows}


def several_labels() -> dict[str, Any]:
    plain = dataset(16)
    rows = [{"text": row["text"], "label": [float(row["label"] == place) for place in range(3)]} for row in plain]
    model = tiny_model("bert", label_names=NAMES, problem_type="multi_label_classification")
    return {"model": model, "train_dataset": Dataset.from_list(rows)}


def lists() -> dict[str, Any]:
    return {"model": ranker(), "train_dataset": queries(8)}


def masked_words() -> dict[str, Any]:
    return {"model": masked_model(), "train_dataset": texts_alone(40), "max_length": 24}


@pytest.mark.parametrize("task", [number, several_labels, lists, masked_words], ids=lambda task: task.__name__)
def test_peers_learn_other_tasks_than_classes(tmp_path: Path, task: Callable[[], dict[str, Any]]) -> None:
    objective = Objective([(1.0, HardLabel()), (1.0, Response())])
    args = {**ADAMW, "max_steps": 2, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1}
    peers = Peers()
    trainer = make_trainer(tmp_path, teacher=peers, objective=objective, args=args, **task())
    trainer.train()
    log = trainer.state.log_history[1]
    (term,) = [key for key in log if key.startswith("raw/") and key not in ("raw/hard_label", "raw/peers")]
    assert log[term] > 0 and log["raw/peers"] > 0
    ended = snapshot(trainer.student)
    settings = {**task(), "teacher": Peers(), "objective": objective, "args": args}
    resumed = make_trainer(tmp_path, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert all(torch.equal(ended[name], tensor) for name, tensor in snapshot(resumed.student).items())
