"""A teacher with another tokenizer teaches every kind of task whose answers are of texts or of words."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from torch import Tensor
from transformers import BertTokenizer, PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from distilnlp.data.tokenize import tokenize
from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Objective, Response, get_loss
from distilnlp.models import load_classifier, load_tokenizer
from distilnlp.models.heads import model_from_config
from distilnlp.models.reading import remember_reading
from distilnlp.part import Part
from distilnlp.problems.reading import TextReader
from distilnlp.teachers import CacheSettings, FrozenTeacher, load_teacher
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import arguments, dataset, largest_difference, snapshot, without_dropout
from tests.tiny import FILLER, VOCAB, byte_tokenizer, piece_tokenizer, tiny_model, tiny_tokenizer, toy_dataset
from tests.training.test_ranking import queries

TAGS = ("O", "B-film", "I-film")


def renumbered_tokenizer() -> PreTrainedTokenizerBase:
    """The tiny one with other numbers."""
    words = [*VOCAB[:5], *reversed(VOCAB[5:])]
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)}, model_max_length=64)


def renumbered(model: PreTrainedModel) -> PreTrainedModel:
    """A model that answers with the renumbered tokenizer what another does with the tiny one; and back again."""
    made = copy.deepcopy(model)
    weight = made.get_input_embeddings().weight
    with torch.no_grad():
        weight[5:] = weight[5:].flip(0)
    return made


def several_labels() -> Dataset:
    rows = toy_dataset(44, seed=0)
    hot = [[float(label == index) for index in range(3)] for label in rows["label"]]
    return Dataset.from_dict({"text": rows["text"][:], "label": hot})


def numbers() -> Dataset:
    rows = toy_dataset(44, seed=0)
    return Dataset.from_dict({"text": rows["text"][:], "label": [label / 2 for label in rows["label"]]})


def tagged_words() -> Dataset:
    """Of 3 to 20 words, so that some stand in several windows of 12 tokens."""
    rng = np.random.default_rng(0)
    texts = [[str(word) for word in rng.choice(FILLER, rng.integers(3, 20))] for _ in range(24)]
    tags = [[1 if word == "film" else 2 if word == "book" else 0 for word in text] for text in texts]
    feature = Features({"text": List(Value("string")), "label": List(ClassLabel(names=list(TAGS)))})
    return Dataset.from_dict({"text": texts, "label": tags}, features=feature)


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Args:
        problem_type: its name in a config.
        data: its examples.
        labels: how many logits.
        max_length: of the student's inputs.
        reading: how the student reads texts.
    """

    problem_type: str
    data: Callable[[], Dataset]
    labels: int = 3
    max_length: int | None = None
    reading: dict[str, Any] | None = None

    def model(self, layers: int, seed: int, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        names = {3: TAGS if self.problem_type == "token_classification" else ("bad", "good", "mixed")}
        config = tiny_model(
            "bert",
            layers=layers,
            label_names=names.get(self.labels),
            num_labels=self.labels,
            problem_type=self.problem_type,
            vocab_size=len(tokenizer),
        ).config
        if self.reading is not None:
            remember_reading(config, self.reading)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return without_dropout(model_from_config(config))


ONE_LABEL = "single_label_classification"
KINDS = {
    "classes": Kind(ONE_LABEL, dataset),
    "classes in windows": Kind(ONE_LABEL, dataset, max_length=8, reading={"long": "windows", "stride": 2}),
    "pairs": Kind(
        ONE_LABEL,
        lambda: toy_dataset(24, 0, pair=True).cast_column("label", ClassLabel(names=["bad", "good", "mixed"])),
    ),
    "several labels": Kind("multi_label_classification", several_labels),
    "regression": Kind("regression", numbers, labels=1),
    "ranking": Kind("ranking", queries, labels=1),
    "words": Kind("token_classification", tagged_words, max_length=12),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def everything() -> Objective:
    return Objective([(0.5, HardLabel()), (0.5, Response()), (1.0, HiddenState()), (0.5, get_loss("pkd"))])


def make(
    folder: Path,
    kind: Kind,
    ours: Callable[[], PreTrainedTokenizerBase] = tiny_tokenizer,
    theirs: Callable[[], PreTrainedTokenizerBase] = piece_tokenizer,
    **changes: Any,
) -> DistillationTrainer:
    args = arguments(folder, **changes.pop("args", {}))
    settings: dict[str, Any] = {
        "model": kind.model(2, 2, ours()),
        "teacher": FrozenTeacher(kind.model(4, 1, theirs()), theirs()),
        "objective": everything(),
        "train_dataset": kind.data(),
        "processing_class": ours(),
        "max_length": kind.max_length,
    }
    return DistillationTrainer(args=args, **{**settings, **changes})


@every_kind
def test_numbers_of_tokens_mean_nothing(kind: Kind, tmp_path: Path) -> None:
    """A student whose tokens only have other numbers learns what one learns that shares its teacher's tokens."""
    plain = make(tmp_path, kind, theirs=tiny_tokenizer)
    plain.train()
    other = make(
        tmp_path, kind, renumbered_tokenizer, tiny_tokenizer, model=renumbered(kind.model(2, 2, tiny_tokenizer()))
    )
    other.train()
    assert largest_difference(renumbered(other.student), plain.student) < 1e-6
    logged = [[log for log in each.state.log_history if "loss" in log] for each in (plain, other)]
    for one, two in zip(*logged, strict=True):
        assert {name for name in one if "hidden_state" in name and one[name] > 0}
        for name in one:
            assert two[name] == pytest.approx(one[name], rel=1e-4)


@pytest.mark.slow
@every_kind
def test_kept_answers_and_live_ones_train_alike_whatever_the_teacher_cuts(kind: Kind, tmp_path: Path) -> None:
    trained = []
    for use in ("never", "always"):
        trainer = make(tmp_path, kind, cache=CacheSettings(use=use), args={"num_train_epochs": 2})
        assert isinstance(trainer.teacher, FrozenTeacher)
        before = snapshot(trainer.teacher.model)
        trainer.train()
        trained.append(trainer.student)
        after = snapshot(trainer.teacher.model)
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert largest_difference(*trained) < 1e-6


@pytest.mark.parametrize("name", ["classes", "ranking", "words"])
def test_micro_batches_of_other_tokens_give_the_same_update(name: str, tmp_path: Path) -> None:
    students = []
    for size, steps in ((8, 1), (2, 4)):
        args = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        trainer = make(tmp_path, KINDS[name], args=args)
        trainer.train()
        students.append(trainer.student)
    assert largest_difference(*students) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS["classes"], KINDS["words"]], ids=["classes", "words"])
@pytest.mark.parametrize("theirs", [piece_tokenizer, byte_tokenizer], ids=["pieces", "bytes"])
def test_the_student_comes_nearer_to_a_teacher_of_other_tokens(kind: Kind, theirs: Any, tmp_path: Path) -> None:
    objective = Objective([(1.0, Response()), (1.0, HiddenState())])
    steps = {"num_train_epochs": 8, "logging_strategy": "epoch", "optim": "adamw_torch", "learning_rate": 3e-3}
    trainer = make(tmp_path, kind, theirs=theirs, objective=objective, args=steps)
    trainer.train()
    logged = [log for log in trainer.state.log_history if "loss" in log]
    response = next(name for name in logged[0] if name.startswith("raw/") and "hidden" not in name)
    for name in (response, "raw/hidden_state"):
        assert logged[-1][name] < 0.9 * logged[0][name], name


def test_a_student_without_the_teachers_states_learns_its_answers_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a text is that to the text, in the teacher's own tokens."""
    kind = KINDS["classes"]
    trainer = make(tmp_path, kind, objective=Objective([(1.0, get_loss("logit_mse"))]))
    seen: list[tuple[Tensor, Tensor]] = []
    texts = kind.data()["text"][:]

    class Look(TrainerCallback):
        def on_step_begin(self, *args: Any, model: Any, **kwargs: Any) -> None:
            hook = trainer._hook
            feed = hook.feed

            def fed(teacher: Any, batch: Any, progress: float) -> None:
                seen.append((batch["input_ids"].clone(), teacher.logits.clone()))
                feed(teacher, batch, progress)

            if not seen:
                monkeypatch.setattr(hook, "feed", fed)

    trainer.add_callback(Look())
    trainer.train()
    by_text = {}
    teacher = kind.model(4, 1, piece_tokenizer()).eval()
    with torch.no_grad():
        for text in texts:
            by_text[text] = teacher(**piece_tokenizer()(text, return_tensors="pt")).logits[0]
    for ids, logits in seen:
        for row, own in zip(ids, logits, strict=True):
            text = tiny_tokenizer().decode(row, skip_special_tokens=True)
            torch.testing.assert_close(own, by_text[text], rtol=1e-4, atol=1e-5)


def test_a_broken_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    args = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch"}
    model = {"model": tiny_model("bert", layers=2, hidden=16, label_names=("bad", "good", "mixed"))}
    whole = make(tmp_path, KINDS["classes"], **copy.deepcopy(model), args=args)
    whole.train()
    again = make(tmp_path, KINDS["classes"], **copy.deepcopy(model), args=args)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert largest_difference(whole.student, again.student) == 0.0


def test_a_stream_is_tokenised_for_both_as_it_is_read(tmp_path: Path) -> None:
    kind = KINDS["classes"]
    trainer = make(tmp_path, kind, train_dataset=dataset(16).to_iterable_dataset(), args={"max_steps": 3})
    trainer.train()
    assert all(log["raw/hidden_state"] > 0 for log in trainer.state.log_history if "loss" in log)


def test_the_lines_of_the_docs_make_a_student_with_a_vocabulary_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stand in docs/schemes/tokenizers.md; every token that both have starts as the teacher's."""
    page = Path(__file__).parents[2] / "docs" / "schemes" / "tokenizers.md"
    lines = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    kind, texts = KINDS["classes"], dataset()["text"][:]
    kind.model(4, 1, piece_tokenizer()).save_pretrained("runs/reviews/teacher")
    piece_tokenizer().save_pretrained("runs/reviews/teacher")
    Path("texts.txt").write_text("\n".join(texts), encoding="utf-8")
    exec(lines, {})

    ours = load_tokenizer("small")
    student, teacher = load_classifier("small"), load_teacher("runs/reviews/teacher")
    assert ours(texts[0])["input_ids"] != piece_tokenizer()(texts[0])["input_ids"]
    weights = [model.get_input_embeddings().weight for model in (student, teacher.model)]
    shared = piece_tokenizer().get_vocab().keys() & ours.get_vocab().keys()
    assert len(shared) > 10
    for token in shared:
        place, other = (each.convert_tokens_to_ids(token) for each in (ours, piece_tokenizer()))
        torch.testing.assert_close(weights[0][place], weights[1][other])
    trainer = make(tmp_path / "run", kind, model=without_dropout(student), teacher=teacher, processing_class=ours)
    trainer.train()
    assert all(log["raw/hidden_state"] > 0 for log in trainer.state.log_history if "loss" in log)


# ---- what cannot be ----


@pytest.mark.parametrize("name", ["attention_probabilities", "attention_scores", "minilm", "internal", "jacobian"])
def test_attention_and_gradients_are_refused_by_name(name: str, tmp_path: Path) -> None:
    objective = Objective([(1.0, HardLabel()), (1.0, get_loss(name))])
    with pytest.raises(RequestError, match=f"^{name} compares what the models have for each token") as caught:
        make(tmp_path, KINDS["classes"], objective=objective)
    assert caught.value.key == (name,)


@pytest.mark.parametrize("theirs", [tiny_tokenizer, piece_tokenizer], ids=["its tokens", "others"])
@pytest.mark.parametrize("name", ["classes", "words"])
def test_a_teacher_without_names_shows_what_it_knows_in_its_own_tokens(name: str, theirs: Any, tmp_path: Path) -> None:
    """One of random weights knows nothing, which is told of it whatever its tokens."""
    kind = KINDS[name]
    model = kind.model(4, 1, theirs())
    model.config.id2label = {number: f"LABEL_{number}" for number in range(3)}
    model.config.label2id = {label: number for number, label in model.config.id2label.items()}
    trainer = make(tmp_path, kind, theirs=theirs, teacher=FrozenTeacher(model, theirs()))
    with pytest.raises(RequestError, match=r"labels have no names.* on \d+ answers it is right"):
        trainer.train()


def test_other_tags_are_refused_by_name(tmp_path: Path) -> None:
    kind = KINDS["words"]
    teacher = kind.model(4, 1, piece_tokenizer())
    teacher.config.id2label = {0: "O", 1: "B-food", 2: "I-food"}
    teacher.config.label2id = {name: number for number, name in teacher.config.id2label.items()}
    with pytest.raises(RequestError, match="B-food"):
        make(tmp_path, kind, teacher=FrozenTeacher(teacher, piece_tokenizer()))


def test_tokens_of_both_that_nobody_has_aligned_are_refused(tmp_path: Path) -> None:
    both = tokenize(dataset(), tiny_tokenizer(), 32, teacher=TextReader(piece_tokenizer(), 32))
    with pytest.raises(RequestError, match="do not say which tokens of theirs belong together"):
        make(tmp_path, KINDS["classes"], train_dataset=both)
    make(tmp_path, KINDS["classes"], train_dataset=both, objective=Objective([(1.0, Response())])).train()


def test_tokens_of_the_student_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="tokenised for the student, and its teacher has another tokenizer"):
        make(tmp_path, KINDS["classes"], train_dataset=tokenize(dataset(), tiny_tokenizer(), 32))


def test_a_part_that_reads_the_layers_of_such_a_teacher_is_refused(tmp_path: Path) -> None:
    class Reads(Part):
        name = "reads"
        weight = 1.0
        uses_teacher = True

        def needs_teacher(self) -> Any:
            return HiddenState(layer_map=[[1, 1]]).needs_teacher()

    with pytest.raises(RequestError, match="the part reads reads the layers"):
        make(tmp_path, KINDS["classes"], parts=[Reads()])


def test_a_text_of_which_the_teacher_has_no_token_is_named(tmp_path: Path) -> None:
    """BERT's normalizer leaves control letters out; a byte-level student has tokens for them."""
    kind = KINDS["words"]
    rows = tagged_words().to_dict()
    rows["text"][3], rows["label"][3] = ["\u200b"], [0]
    data = Dataset.from_dict(rows, features=tagged_words().features)
    with pytest.raises(RequestError, match="has no token for any word of the text"):
        make(tmp_path, kind, byte_tokenizer, tiny_tokenizer, train_dataset=data)
