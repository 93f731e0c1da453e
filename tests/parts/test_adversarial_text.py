"""A generator changes words to where student and teacher differ; the student learns to answer there as the teacher."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerCallback

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective, SoftTarget
from distilnlp.models.capture import model_info
from distilnlp.outputs import Outputs
from distilnlp.part import Pass, Training
from distilnlp.parts import AdversarialText, EarlyExits, Progressive
from distilnlp.teachers import EnsembleTeacher, FrozenTeacher, Peers
from tests.masked import masked_model
from tests.runs import dataset, largest_difference, make_trainer, snapshot, student_model, teacher_model
from tests.tiny import VOCAB, piece_tokenizer, tiny_model, tiny_tokenizer

TEXTS = ["a good film", "the book was very dull and we saw it", "red"]
SPECIAL = [VOCAB.index(word) for word in VOCAB if word.startswith("[")]
OBJECTIVE = Objective([(0.5, HardLabel()), (0.5, SoftTarget())])
ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-3, "weight_decay": 0.1}


def writer(kind: str = "bert", **changes: Any) -> Any:
    return masked_model(kind, **{"seed": 7, "initializer_range": 0.3, **changes})


def part_with(**settings: Any) -> AdversarialText:
    generator = settings.pop("generator", None) or writer()
    return AdversarialText(generator, tiny_tokenizer(), **{"generator_steps": 2, "student_steps": 3, **settings})


class Step:
    """A student and its teacher, whose answers differ, with a part between two optimizer steps."""

    def __init__(self, part: AdversarialText, kind: str = "bert", texts: Sequence[str] = TEXTS) -> None:
        self.part = part
        self.student = student_model(kind, dropout=False, initializer_range=0.2).train()
        self.teacher = FrozenTeacher(teacher_model(initializer_range=0.2))
        part.accept(self.student)
        part.meet(model_info(self.teacher.model))
        part.attach(Training(self.student, self.student, torch.device("cpu"), 0, self.teacher))
        self.batch = dict(tiny_tokenizer()(list(texts), padding=True, return_tensors="pt"))

    def term(self, *, generating: bool) -> Tensor:
        while self.part.generating != generating:
            self.part.on_step(0.0)
        self.part.on_pass(0.0)
        own = Outputs(logits=self.student(**self.batch).logits)
        return self.part.term(Pass(self.student, own, None, self.batch, 0.0))

    def divergence(self, ids: Tensor) -> Tensor:
        """``T^2 KL(T || S)`` of the texts with these tokens, from the formula."""
        inputs = {**self.batch, "input_ids": ids}
        p, log_q = (self.teacher.model(**inputs).logits / 2).softmax(-1), (self.student(**inputs).logits / 2)
        return 4 * (p * (p.log() - log_q.log_softmax(-1))).sum(-1).mean()


def test_the_student_learns_the_answers_to_the_changed_texts() -> None:
    step = Step(part_with())
    term = step.term(generating=False)
    ids = step.part.changed(step.batch)[0]
    assert not torch.equal(ids, step.batch["input_ids"])
    torch.testing.assert_close(term, step.divergence(ids))
    term.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in step.student.parameters())
    assert all(weight.grad is None for weight in step.part.generator.parameters())


def test_the_generator_learns_to_raise_it_through_both_models_as_if_the_draw_were_soft() -> None:
    """The same by hand: the word vectors of a one-hot token that has the gradient of the soft choice."""
    step = Step(part_with(gumbel_temperature=0.7))
    term = step.term(generating=True)
    term.backward()
    found = {name: weight.grad.clone() for name, weight in step.part.generator.named_parameters()}
    assert all(weight.grad is None for weight in step.student.parameters())

    step.part.generator.zero_grad()
    ids, places, chosen = step.part.changed(step.batch)
    one_hot = F.one_hot(ids, len(VOCAB)).float()
    straight = one_hot[places[:, 0], places[:, 1]] + chosen - chosen.detach()
    one_hot = one_hot.index_put((places[:, 0], places[:, 1]), straight)
    others = {name: tensor for name, tensor in step.batch.items() if name != "input_ids"}
    logits = [
        model(inputs_embeds=one_hot @ model.get_input_embeddings().weight, **others).logits / 2
        for model in (step.teacher.model, step.student)
    ]
    p = logits[0].softmax(-1)
    value = 4 * (p * (p.log() - logits[1].log_softmax(-1))).sum(-1).mean()
    (-value).backward()
    torch.testing.assert_close(term, value)
    for name, weight in step.part.generator.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_what_the_generator_learns_raises_the_divergence() -> None:
    """On the same texts with the same noise; and against its gradient the divergence falls."""
    after = {}
    for sign in (1, -1):
        step = Step(part_with(mask_share=0.5), texts=dataset(16)["text"])
        before = step.term(generating=True).detach()
        optimizer = torch.optim.Adam(step.part.generator.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            (sign * step.term(generating=True)).backward()
            optimizer.step()
        after[sign] = step.term(generating=True).detach() / before
    assert after[-1] < 0.7 and after[1] > 1.4


@pytest.mark.parametrize(("share", "hidden"), [(0.3, [1, 3, 1]), (0.9, [3, 8, 1])])
def test_a_share_of_the_words_is_hidden_and_nothing_else_changes(share: float, hidden: list[int]) -> None:
    step = Step(part_with(mask_share=share))
    step.term(generating=True)
    ids, places, chosen = step.part.changed(step.batch)
    before = step.batch["input_ids"]
    drawn = torch.zeros_like(ids, dtype=torch.bool).index_put((places[:, 0], places[:, 1]), torch.tensor(True))
    assert drawn.sum(dim=1).tolist() == hidden
    assert torch.equal(ids[~drawn], before[~drawn])
    assert not torch.isin(before[drawn], torch.tensor(SPECIAL)).any()
    assert not torch.isin(ids[drawn], torch.tensor(SPECIAL)).any()
    assert torch.equal(chosen.argmax(-1), ids[drawn])
    torch.testing.assert_close(chosen.sum(-1), torch.ones(len(chosen)))


@pytest.mark.slow
@pytest.mark.parametrize("generating", [True, False])
def test_a_token_is_drawn_as_often_as_the_generator_gives_it(generating: bool) -> None:
    turns = {"generator_steps": 10_000, "student_steps": 1} if generating else {"generator_steps": 1}
    step = Step(part_with(mask_share=0.3, **{"student_steps": 10_000, **turns}))
    step.batch = {name: tensor[2:, :3] for name, tensor in step.batch.items()}  # [CLS] red [SEP]
    masked = {**step.batch, "input_ids": step.batch["input_ids"].clone()}
    masked["input_ids"][0, 1] = VOCAB.index("[MASK]")
    with torch.no_grad():
        logits = step.part.generator(**masked).logits[0, 1]
    logits[SPECIAL] = -torch.inf
    expected, found = logits.softmax(-1), torch.zeros(len(VOCAB))
    for _ in range(2000):
        step.part.on_step(0.0)
        found[step.part.changed(step.batch)[0][0, 1]] += 1 / 2000
    assert float((found - expected).abs().max()) < 0.04  # three standard errors of a half


def test_a_text_is_changed_as_it_would_be_alone_and_otherwise_in_the_next_step() -> None:
    step = Step(part_with(mask_share=0.5))
    ids = step.part.changed(step.batch)[0]
    length = int(step.batch["attention_mask"][0].sum())
    alone = {name: tensor[:1, :length] for name, tensor in step.batch.items()}
    assert torch.equal(step.part.changed(alone)[0], ids[:1, :length])
    step.part.on_step(0.0)
    assert not torch.equal(step.part.changed(step.batch)[0], ids)


def test_texts_without_a_word_teach_nobody_and_stop_nothing() -> None:
    step = Step(part_with())
    step.batch = dict(tiny_tokenizer()(["", "unheard"], padding=True, return_tensors="pt"))
    term = step.term(generating=True)
    term.backward()
    assert not any(weight.grad is not None and weight.grad.any() for weight in step.part.generator.parameters())


class Turns(TrainerCallback):
    """Who has changed in each optimizer step."""

    def __init__(self, part: AdversarialText, student: Any) -> None:
        self.models = (part, student)
        self.before: list[dict[str, Tensor]] = []
        self.changed: list[tuple[bool, bool]] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        part, student = self.models
        self.before = [snapshot(part.generator), snapshot(student)]  # of the student alone, without what hangs on it

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        part, student = self.models
        now = [part.generator.state_dict(), student.state_dict()]
        moved = [
            any(not torch.equal(old[name], new[name]) for name in old)
            for old, new in zip(self.before, now, strict=True)
        ]
        self.changed.append((moved[0], moved[1]))


def trainer(folder: Path, part: AdversarialText, **changes: Any) -> Any:
    settings = {"objective": OBJECTIVE, "parts": [part], **changes}
    settings["args"] = {**ADAMW, "num_train_epochs": 2, **changes.get("args", {})}
    return make_trainer(folder, **settings)


def test_the_two_learn_in_turns_and_the_teacher_stays_as_it_is_to_the_bit(tmp_path: Path) -> None:
    student, teacher, generator = student_model(), teacher_model(), writer()
    before, first = snapshot(teacher), snapshot(generator)
    part = part_with(generator=generator)
    turns = Turns(part, student)
    made = trainer(tmp_path, part, model=student, teacher=teacher, callbacks=[turns])
    made.train()
    expected = [(True, False)] * 2 + [(False, True)] * 3
    assert turns.changed == (expected * 3)[: len(turns.changed)] and len(turns.changed) == 12
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(torch.equal(tensor, first[name]) for name, tensor in generator.state_dict().items())
    assert largest_difference(part.generator, generator) > 0
    assert all(weight.requires_grad for weight in student.parameters())
    made.save_model(str(tmp_path / "model"))
    assert set(load_file(tmp_path / "model" / "model.safetensors")) == set(student_model().state_dict())
    assert not student.get_input_embeddings()._forward_hooks and not teacher.get_input_embeddings()._forward_hooks


def test_a_training_that_goes_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 4}
    parts, students = [part_with(), part_with()], [student_model(), student_model()]
    trainer(tmp_path / "whole", parts[0], model=students[0], args=args).train()
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "half" / "checkpoint-4")
    trainer(tmp_path / "half", parts[1], model=students[1], args=args).train(resume_from_checkpoint=True)
    assert largest_difference(*students) == 0.0
    assert largest_difference(parts[0].generator, parts[1].generator) == 0.0


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert"])
def test_every_backbone_reads_and_writes(kind: str) -> None:
    part = part_with(generator=writer(kind))
    step = Step(part, kind)
    step.term(generating=True).backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in part.generator.parameters())
    assert step.term(generating=False).isfinite()


def test_the_precision_is_that_of_the_training(tmp_path: Path) -> None:
    student = student_model()
    trainer(tmp_path, part_with(), model=student, args={"bf16": True, "max_steps": 4}).train()
    assert all(weight.isfinite().all() and weight.dtype == torch.float32 for weight in student.parameters())


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"weight": 0.0}, "weight"),
        ({"mask_share": 0.0}, "mask_share"),
        ({"mask_share": 1.0}, "mask_share"),
        ({"generator_steps": 0}, "generator_steps"),
        ({"student_steps": 0}, "student_steps"),
        ({"gumbel_temperature": 0.0}, "gumbel_temperature"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError) as caught:
        AdversarialText(**settings)
    assert [*caught.value.key] == [key] and "\n" not in str(caught.value)


def test_a_generator_that_cannot_write_is_refused() -> None:
    for given, message in (
        ((), "needs a masked language model"),
        ((tiny_model("bert"), tiny_tokenizer()), "is for single_label_classification"),
    ):
        with pytest.raises(RequestError, match=message):
            AdversarialText(*given).accept(student_model())


def test_who_answers_no_texts_of_its_own_is_refused() -> None:
    with pytest.raises(RequestError, match="masked_lm: leave it out"):
        part_with().accept(masked_model())


def test_one_vocabulary_is_needed(tmp_path: Path) -> None:
    pieces = piece_tokenizer()
    with pytest.raises(
        RequestError, match=r"the model of adversarial_text does not read the student's tokens: .* mean"
    ):
        trainer(tmp_path, AdversarialText(writer(vocab_size=len(pieces)), pieces))
    teacher = FrozenTeacher(teacher_model(vocab_size=len(pieces)), pieces)
    with pytest.raises(RequestError, match="student and teacher read, and they have other tokens"):
        trainer(tmp_path, part_with(), teacher=teacher)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None, "objective": Objective([(1.0, HardLabel())])}, "there is none: name one"),
        ({"teacher": lambda: EnsembleTeacher({"a": teacher_model(), "b": teacher_model(seed=9)})}, "no single model"),
        ({"teacher": lambda: Peers()}, "needs one answer of the teacher at every step, and Peers gives several"),
        ({"args": {"max_steps": 2}}, "takes the first 2 for its generator"),
    ],
)
def test_a_training_that_would_not_do_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    teacher = changes.get("teacher")
    made = {**changes, "teacher": teacher()} if callable(teacher) else copy.copy(changes)
    with pytest.raises(RequestError, match=message):
        trainer(tmp_path, part_with(), **made).train()


def test_two_parts_that_freeze_the_student_are_one_too_many(tmp_path: Path) -> None:
    for other in (Progressive(losses={"hidden_state": {}}), EarlyExits(freeze=True)):
        with pytest.raises(RequestError, match=rf"adversarial_text and {other.name} take weights"):
            make_trainer(tmp_path, objective=OBJECTIVE, parts=[part_with(), other], train_dataset=dataset())
