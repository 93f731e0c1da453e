"""A student that reads other tokens than its teacher: another tokenizer, or translations of what the teacher reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertTokenizer, PreTrainedTokenizerBase, TrainingArguments

from distilnlp import DistillationTrainer, Objective
from distilnlp.data.parallel import held_out_texts, read_parallel, training_texts
from distilnlp.data.tokenize import tokenize
from distilnlp.errors import RequestError
from distilnlp.losses import Cosine, get_loss
from distilnlp.models.sentence_encoder import SENTENCE, SentenceEncoder
from distilnlp.problems.reading import TextReader
from distilnlp.problems.sentence_embedding import translation_accuracies
from distilnlp.teachers import CacheSettings, FrozenTeacher
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer, toy_dataset


def bilingual_tokenizer() -> PreTrainedTokenizerBase:
    """The words of the tiny one under other numbers, and a translation of each, which has an x in front."""
    words = [*VOCAB[:5], *(f"x{word}" for word in VOCAB[5:]), *VOCAB[5:]]
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)}, model_max_length=64)


def bilingual_encoder() -> SentenceEncoder:
    config = tiny_model("bert", layers=1).config
    config.vocab_size, config.problem_type = len(bilingual_tokenizer()), "sentence_embedding"
    setattr(config, SENTENCE, PLAIN.to_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return SentenceEncoder(config)


def translated(text: str) -> str:
    return " ".join(f"x{word}" for word in text.split())


def texts(rows: int = 48) -> Dataset:
    return toy_dataset(rows, seed=0).select_columns(["text"])


def parallel_texts(rows: int = 48) -> Dataset:
    source = texts(rows)["text"][:]
    both = Dataset.from_dict({"en": source, "x": [translated(text) for text in source]})
    return training_texts(read_parallel(both, ("en", "x"), "here"), "here")[0]


def make_trainer(folder: Path, data: Any, objective: Objective | None = None, **settings: Any) -> DistillationTrainer:
    teacher = FrozenTeacher(tiny_encoder(), settings.pop("tokenizer", tiny_tokenizer()))
    ours = {name: settings.pop(name) for name in ("cache", "data_collator", "eval_dataset") if name in settings}
    arguments: dict[str, Any] = {"num_train_epochs": 6, "per_device_train_batch_size": 16, "learning_rate": 5e-3}
    arguments |= {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    arguments |= {"dataloader_pin_memory": False, "logging_steps": 1}
    return DistillationTrainer(
        model=bilingual_encoder(),
        teacher=teacher,
        objective=objective or Objective([(1.0, Cosine())]),
        args=TrainingArguments(str(folder), **{**arguments, **settings}),
        train_dataset=data,
        processing_class=bilingual_tokenizer(),
        **ours,
    )


def likeness(student: Any, reads: Callable[[str], str]) -> float:
    """The mean cosine of the student's vectors with those that the teacher gives the sources."""
    sentences = texts()["text"][:]
    batches = [
        tokenizer(read, padding=True, return_tensors="pt")
        for tokenizer, read in (
            (bilingual_tokenizer(), [reads(text) for text in sentences]),
            (tiny_tokenizer(), sentences),
        )
    ]
    with torch.no_grad():
        ours, theirs = student.eval()(**batches[0]).logits, tiny_encoder()(**batches[1]).logits
    return float(torch.cosine_similarity(ours, theirs).mean())


@pytest.mark.parametrize("name", ["cosine", "logit_mse", "info_nce"])
def test_a_student_of_another_vocabulary_learns_its_teachers_vectors(name: str, tmp_path: Path) -> None:
    settings = {"on": "logits", "dimension": None} if name == "info_nce" else {}
    trainer = make_trainer(tmp_path, texts(), Objective([(1.0, get_loss(name, **settings))]))
    before = likeness(trainer.student, str)
    trainer.train()
    assert likeness(trainer.student, str) > max(before, 0.0) + 0.1


def test_a_translation_gets_the_teachers_vector_of_its_source(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, parallel_texts())
    trainer.train()
    assert likeness(trainer.student, translated) > 0.8 and likeness(trainer.student, str) > 0.8


def test_translations_are_looked_for_while_it_learns(tmp_path: Path) -> None:
    source = sorted(set(texts()["text"]))
    rows = Dataset.from_dict({"en": source, "x": [translated(text) for text in source]})
    held_out, _ = held_out_texts(read_parallel(rows, ("en", "x"), "here"), "here")
    trainer = make_trainer(tmp_path, parallel_texts(), eval_dataset=held_out, eval_strategy="epoch")
    trainer.train()
    scores = [each["eval_translation_accuracy"] for each in trainer.state.log_history if "eval_runtime" in each]
    assert scores[0] < scores[-1] > 0.5
    read = bilingual_tokenizer()(held_out["text"][:], padding=True, return_tensors="pt")
    with torch.no_grad():
        vectors = trainer.student.eval()(**read).logits
    assert scores[-1] == pytest.approx(translation_accuracies(vectors, np.array(held_out["label"]))[0], abs=0.02)


def test_kept_answers_and_live_ones_give_the_same_student_and_each_source_is_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    answer = FrozenTeacher.__call__

    def counted(self: FrozenTeacher, batch: Any) -> Any:
        read.append(len(batch["input_ids"]))
        return answer(self, batch)

    monkeypatch.setattr(FrozenTeacher, "__call__", counted)
    students, counts = [], []
    for use in ("never", "auto"):
        trainer = make_trainer(
            tmp_path / use,
            parallel_texts(),
            cache=CacheSettings(use=use),
            num_train_epochs=1,
        )
        trainer.train()
        students.append(trainer.student.state_dict())
        counts.append(sum(read))
        read.clear()
    # One of the longest is read to see what is stored.
    sources = len(set(parallel_texts()["teacher_text"]))
    assert counts[1] == sources + 1 <= counts[0] <= len(parallel_texts())
    for name, weights in students[0].items():
        torch.testing.assert_close(weights, students[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        # The letters of a translation stand elsewhere, so that nothing tells which of its tokens are the source's.
        ("hidden_state", parallel_texts),
        *((name, make) for name in ("attention_probabilities", "minilm") for make in (texts, parallel_texts)),
    ],
)
def test_what_compares_token_by_token_is_refused_by_name(
    name: str, make: Callable[[], Dataset], tmp_path: Path
) -> None:
    objective = Objective([(1.0, Cosine()), (1.0, get_loss(name))])
    with pytest.raises(RequestError, match=f"^{name} compares what the models have for each token") as caught:
        make_trainer(tmp_path, make(), objective)
    assert caught.value.key == [name] or caught.value.key == (name,)


@pytest.mark.parametrize("make", [texts, parallel_texts])
def test_one_vector_a_text_of_a_layer_is_compared_whatever_the_tokens(
    make: Callable[[], Dataset], tmp_path: Path
) -> None:
    objective = Objective([(1.0, Cosine()), (1.0, get_loss("rkd_distance", pooling="mean"))])
    trainer = make_trainer(tmp_path, make(), objective, num_train_epochs=1)
    trainer.train()
    assert all(log["raw/rkd_distance"] > 0 for log in trainer.state.log_history if "loss" in log)


def test_the_states_of_a_sentences_words_are_compared_where_both_read_it(tmp_path: Path) -> None:
    objective = Objective([(1.0, Cosine()), (1.0, get_loss("hidden_state"))])
    trainer = make_trainer(tmp_path, texts(), objective)
    trainer.train()
    logged = [log["raw/hidden_state"] for log in trainer.state.log_history if "loss" in log]
    assert logged[-1] < 0.9 * logged[0]


def test_tokens_of_the_student_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="tokenised for the student, and its teacher has another tokenizer"):
        make_trainer(tmp_path, tokenize(texts(), bilingual_tokenizer(), 32))
    both = tokenize(texts(), bilingual_tokenizer(), 32, teacher=TextReader(tiny_tokenizer(), 32))
    assert make_trainer(tmp_path, both, num_train_epochs=1).train().training_loss > 0


def test_a_collator_that_leaves_out_what_the_teacher_reads_is_told(tmp_path: Path) -> None:
    from transformers import DataCollatorWithPadding

    class Plain(DataCollatorWithPadding):
        def __call__(self, features: Any) -> Any:
            kept = ("input_ids", "attention_mask", "token_type_ids")
            return super().__call__([{name: each[name] for name in kept} for each in features])

    trainer = make_trainer(
        tmp_path, texts(), data_collator=Plain(bilingual_tokenizer()), cache=CacheSettings(use="never")
    )
    with pytest.raises(RequestError, match=r"leave out data_collator="):
        trainer.train()


def test_translations_for_a_teacher_of_unknown_tokenizer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="its tokenizer is not known"):
        make_trainer(tmp_path, parallel_texts(), tokenizer=None)


def test_a_source_in_a_language_that_the_teacher_has_no_tokens_for_is_refused(tmp_path: Path) -> None:
    swapped = parallel_texts().rename_columns({"text": "teacher_text", "teacher_text": "text"})
    with pytest.raises(RequestError, match="does not know the language"):
        make_trainer(tmp_path, swapped.filter(lambda row: row["teacher_text"].startswith("x")))
