"""A cached teacher answers as the live one does, is asked once for every text, and can never answer about another."""

import errno
import logging
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor

from distilnlp.data import tokenize
from distilnlp.data.collate import make_collator
from distilnlp.errors import RequestError
from distilnlp.losses import AttentionProbabilities, HiddenState, Objective, SoftTarget
from distilnlp.outputs import Needs, Outputs
from distilnlp.recipe.schema import CacheSpec
from distilnlp.teachers import Cacheable, CachedTeacher, CacheSettings, EMATeacher, FrozenTeacher, Teacher, layout
from distilnlp.teachers.cached import cache_answers
from tests.runs import dataset, largest_difference, make_trainer, student_model, teacher_model
from tests.tiny import BACKBONES, tiny_tokenizer, toy_dataset

NEEDS = Needs(logits=True, hidden_states=frozenset({0, 4}), attention=frozenset({1, 4}), values=frozenset({4}))
OF_DEBERTA = Needs(logits=True, hidden_states=frozenset({0, 4}), attention=frozenset({1, 4}))
ALWAYS = CacheSettings(use="always")
FIELDS = ("hidden_states", "queries", "keys", "values", "attentions")


def tokens(rows: int = 30, seed: int = 0) -> Dataset:
    return tokenize(toy_dataset(rows, seed), tiny_tokenizer())


def prepared(kind: str = "bert", needs: Needs | None = None, **changes: Any) -> FrozenTeacher:
    teacher = FrozenTeacher(teacher_model(kind, **changes), tiny_tokenizer())
    teacher.prepare(torch.device("cpu"), needs or (OF_DEBERTA if kind == "deberta-v2" else NEEDS))
    return teacher


def cached(folder: Path, teacher: FrozenTeacher, data: Dataset, **changes: Any) -> CachedTeacher | None:
    settings = changes.pop("settings", ALWAYS)
    given = {"passes": 3.0, "autocast": nullcontext, "collate": make_collator(tiny_tokenizer()), **changes}
    return cache_answers(teacher, data, settings=settings, folder=folder, **given)


def batch_of(teacher: CachedTeacher, data: Dataset, rows: list[int], side: str = "right") -> dict[str, Any]:
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = side
    return dict(teacher.collator(make_collator(tokenizer))([data[row] for row in rows]))


def real(outputs: Outputs) -> dict[str, Tensor]:
    """Every tensor of the outputs, padding out."""
    assert outputs.attention_mask is not None and outputs.logits is not None
    mask = outputs.attention_mask.bool()
    found = {"logits": outputs.logits}
    for name in FIELDS:
        for layer, tensor in getattr(outputs, name).items():
            if name == "attentions":
                tensor = tensor.permute(0, 2, 3, 1)[mask[:, :, None] & mask[:, None, :]]
            else:
                tensor = tensor[mask] if name == "hidden_states" else tensor.transpose(1, 2)[mask]
            found[f"{name}.{layer}"] = tensor
    return found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that any teacher is asked about."""
    sizes: list[int] = []
    ask = FrozenTeacher.__call__

    def counting(self: FrozenTeacher, batch: dict[str, Tensor]) -> Outputs:
        sizes.append(len(batch["input_ids"]))
        return ask(self, batch)

    monkeypatch.setattr(FrozenTeacher, "__call__", counting)
    return sizes


@pytest.mark.parametrize("kind", BACKBONES)
def test_what_is_read_is_bit_for_bit_what_the_teacher_said(tmp_path: Path, kind: str) -> None:
    """For the same batch, on every backbone, whichever way it computes attention."""
    data, live = tokens(), prepared(kind)
    teacher = cached(tmp_path, live, data)
    assert teacher is not None
    rows = teacher.store.rows.source.tolist()  # in one chunk, in the order in which they were asked
    batch = batch_of(teacher, data, rows)
    got, expected = real(teacher(batch)), real(live(batch))
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, atol=0, rtol=0, msg=name)


def test_input_gradients_are_kept_for_each_text_and_its_label(tmp_path: Path) -> None:
    """They are those of the label's logit: the same text with another label is one that nobody asked about."""
    data, live = tokens(), prepared(needs=Needs(logits=True, input_gradients=True))
    teacher = cached(tmp_path, live, data)
    assert teacher is not None
    rows = teacher.store.rows.source.tolist()
    batch = batch_of(teacher, data, rows)
    got, expected, mask = teacher(batch), live(batch), batch["attention_mask"].bool()
    assert "teacher_answers" in batch
    assert got.input_gradients is not None and expected.input_gradients is not None
    torch.testing.assert_close(got.input_gradients[mask], expected.input_gradients[mask], atol=0, rtol=0)
    other = data.map(lambda row: {"labels": (row["labels"] + 1) % 3})
    assert "teacher_answers" not in batch_of(teacher, other, rows)


@pytest.mark.parametrize("side", ["right", "left"])
def test_in_another_batch_it_differs_by_rounding_only(tmp_path: Path, side: str) -> None:
    """A live teacher's answers too change in their last bits with the other rows of the batch."""
    data, live = tokens(), prepared("roberta")
    teacher = cached(tmp_path, live, data)
    assert teacher is not None
    rows = np.random.default_rng(0).permutation(30)[:7].tolist()
    got, expected = real(teacher(batch_of(teacher, data, rows, side))), real(live(batch_of(teacher, data, rows)))
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, atol=1e-5, rtol=1e-5, msg=name)


def test_under_bf16_it_is_kept_and_read_as_the_teacher_gave_it(tmp_path: Path) -> None:
    """Each tensor in the type that autocast left it in; in another batch it differs by bf16's rounding."""

    def bf16() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    data, live = tokens(), prepared()
    teacher = cached(tmp_path, live, data, autocast=bf16)
    assert teacher is not None
    for rows, tolerance in ((teacher.store.rows.source.tolist(), 0.0), ([4, 17, 2], 0.05)):
        batch = batch_of(teacher, data, rows)
        with bf16():
            got, expected = real(teacher(batch)), real(live(batch))
        assert expected["queries.1"].dtype == torch.bfloat16
        for name, tensor in expected.items():
            torch.testing.assert_close(got[name], tensor, atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "deberta-v2"])
def test_losses_are_the_same(tmp_path: Path, kind: str) -> None:
    """The local window of ModernBERT is part of what is kept: without it the attention would be another."""
    data, live = tokens(), prepared(kind)
    teacher = cached(tmp_path, live, data)
    assert teacher is not None
    batch = batch_of(teacher, data, [3, 11, 7, 20])
    student = FrozenTeacher(student_model(kind), tiny_tokenizer())
    student.prepare(torch.device("cpu"), Needs(True, frozenset({0, 2}), frozenset({1, 2})))
    objective = Objective(
        [
            (1.0, SoftTarget()),
            (1.0, HiddenState(layer_map=[[0, 0], [2, 4]])),
            (1.0, AttentionProbabilities(layer_map=[[1, 1], [2, 4]])),
        ]
    )
    values = [objective(student(batch), answers, batch)[1] for answers in (teacher(batch), live(batch))]
    torch.testing.assert_close(values[0], values[1])


def test_half_precision_halves_the_size_and_rounds(tmp_path: Path) -> None:
    data, live = tokens(), prepared()
    exact = cached(tmp_path, live, data)
    half = cached(tmp_path, live, data, settings=CacheSettings(use="always", dtype="float16"))
    assert exact is not None and half is not None
    sizes = [teacher.store.layout.bytes(teacher.store.rows) for teacher in (exact, half)]
    assert sizes[0] == 2 * sizes[1]
    batch = batch_of(half, data, [0, 1, 2])
    for name, tensor in real(live(batch)).items():
        torch.testing.assert_close(real(half(batch))[name].float(), tensor, atol=5e-3, rtol=5e-3, msg=name)


CHANGES: dict[str, Callable[[], tuple[FrozenTeacher, Dataset, CacheSettings]]] = {
    "weights": lambda: (prepared(seed=9), tokens(), ALWAYS),
    "config": lambda: (prepared(layer_norm_eps=1e-3), tokens(), ALWAYS),
    "texts": lambda: (prepared(), tokens(seed=1), ALWAYS),
    "truncation": lambda: (prepared(), tokenize(toy_dataset(30, 0), tiny_tokenizer(), 8), ALWAYS),
    "needs": lambda: (prepared(needs=Needs(logits=True)), tokens(), ALWAYS),
    "dtype": lambda: (prepared(), tokens(), CacheSettings(use="always", dtype="float16")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_stale_cache_is_never_read(tmp_path: Path, change: str, counted: list[int]) -> None:
    """Trap 17: each of what the answers depend on, changed alone, is another cache."""
    first = cached(tmp_path, prepared(), tokens())
    counted.clear()
    again = cached(tmp_path, prepared(), tokens())
    assert not counted, "the same is asked once"
    teacher, data, settings = CHANGES[change]()
    other = cached(tmp_path, teacher, data, settings=settings)
    assert counted, "another is asked anew"
    assert first is not None and again is not None and other is not None
    assert first.store.folder == again.store.folder != other.store.folder


def test_another_precision_or_version_is_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 17: the same model rounds in another way under autocast, and may compute in another way tomorrow."""

    def folder(**changes: Any) -> Path:
        teacher = cached(tmp_path, prepared(), tokens(), **changes)
        assert teacher is not None
        return teacher.store.folder

    plain = folder()
    assert folder() == plain
    assert folder(autocast=lambda: torch.autocast("cpu", torch.bfloat16)) != plain
    for library in ("torch", "transformers"):
        with monkeypatch.context() as patch:
            # By its name there: transformers replaces its own module while it is imported.
            patch.setattr(f"distilnlp.teachers.cached.{library}.__version__", "99.0.0")
            assert folder() != plain


def test_the_order_of_the_labels_is_part_of_the_answers(tmp_path: Path) -> None:
    plain, turned = prepared(), prepared()
    turned.reorder_labels((2, 0, 1))
    first, second = (cached(tmp_path, teacher, tokens()) for teacher in (plain, turned))
    assert first is not None and second is not None and first.store.folder != second.store.folder
    batch = batch_of(second, tokens(), [0, 1])
    torch.testing.assert_close(second(batch).get_logits(), plain(batch).get_logits()[:, [2, 0, 1]])
    with pytest.raises(RuntimeError, match="live teacher"):
        second.reorder_labels((0, 1, 2))


def test_a_text_that_is_new_is_answered_by_the_teacher_itself(
    tmp_path: Path, counted: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """What augmentation makes while it trains is in no cache."""
    data, new = tokens(), tokens(seed=5)
    teacher = cached(tmp_path, prepared(), data)
    assert teacher is not None
    counted.clear()
    assert "teacher_answers" in batch_of(teacher, data, [0, 1])
    batch = dict(teacher.collator(make_collator(tiny_tokenizer()))([data[0], new[0]]))
    assert "teacher_answers" not in batch
    with caplog.at_level(logging.INFO, "distilnlp"):
        torch.testing.assert_close(teacher(batch).get_logits(), teacher.live(batch).get_logits())
    assert counted == [2, 2] and "some texts are new" in caplog.text


def test_equal_texts_are_kept_once(tmp_path: Path) -> None:
    data = tokenize(Dataset.from_dict({"text": ["the film was good"] * 5 + ["a dull book"]}), tiny_tokenizer())
    teacher = cached(tmp_path, prepared(), data)
    assert teacher is not None and len(teacher.store.rows.source) == 2
    assert "teacher_answers" in batch_of(teacher, data, [0, 4, 5])


def test_a_filling_that_was_broken_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int]
) -> None:
    monkeypatch.setattr(layout, "CHUNK_ROWS", 2)
    whole = cached(tmp_path / "whole", prepared(), tokens())
    needed = len(counted)
    ask = FrozenTeacher.__call__

    def dying(self: FrozenTeacher, batch: dict[str, Tensor]) -> Outputs:
        if len(counted) >= 10:
            raise KeyboardInterrupt
        return ask(self, batch)

    counted.clear()
    monkeypatch.setattr("distilnlp.teachers.store.PER_SYNC", 4)
    with monkeypatch.context() as patch:
        patch.setattr(FrozenTeacher, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            cached(tmp_path / "broken", prepared(), tokens())
    asked = len(counted)
    teacher = cached(tmp_path / "broken", prepared(), tokens())
    # The longest example is asked about each time, to learn the sizes; what was not noted yet (below 4) again.
    assert needed < len(counted) <= needed + 1 + 4 and asked == 10
    assert teacher is not None and whole is not None
    for tensor in whole.store.layout.tensors:
        assert (whole.store.folder / tensor.file).read_bytes() == (teacher.store.folder / tensor.file).read_bytes()


def flip(path: Path, place: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "a bit": (
        lambda store: flip(store / "hidden_states.4.bin"),
        r"hidden_states\.4\.bin is damaged in 1 of \d+",
        False,
    ),
    "a bit at the end": (lambda store: flip(store / "keys.1.bin", -1), r"keys\.1\.bin is damaged in 1 of", False),
    "a checksum": (lambda store: flip(store / "checksums.bin"), r"logits\.bin is damaged in 1 of", False),
    "a note of progress": (lambda store: (store / "progress.bin").write_bytes(b"\0" * 6), "progress.bin is ", True),
    "cut off": (lambda store: os.truncate(store / "logits.bin", 8), r"logits\.bin is cut off", True),
    "longer": (lambda store: os.truncate(store / "logits.bin", 4096), r"logits\.bin is cut off", True),
    "removed": (lambda store: (store / "queries.4.bin").unlink(), r"queries\.4\.bin is missing", True),
    "empty plan": (lambda store: (store / "plan.json").write_text(""), "plan.json or .* is damaged", True),
    "other plan": (lambda store: flip(store / "plan.json", 60), "plan.json or .* is damaged", True),
    "removed plan": (lambda store: (store / "plan.json").unlink(), "plan.json is missing", True),
    "windows": (lambda store: flip(store / "allowed.safetensors", -1), "plan.json or .* is damaged", True),
    "empty mark": (lambda store: (store / "complete").write_text(""), "plan.json or .* is damaged", True),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_on_the_disk_is_named_and_answered_again(
    tmp_path: Path,
    counted: list[int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    harm, said, everything = DAMAGES[damage]
    kind = "modernbert" if damage == "windows" else "bert"  # whose layers see a window of the text
    monkeypatch.setattr(layout, "CHUNK_ROWS", 5)
    first = cached(tmp_path, prepared(kind), tokens())
    assert first is not None
    expected, store = real(first(batch_of(first, tokens(), [*range(30)]))), first.store.folder
    harm(store)
    counted.clear()
    second = cached(tmp_path, prepared(kind), tokens())
    assert second is not None and second.store.complete
    assert re.search(rf"of the kept answers in {store} {said}.*: the teacher gives them again", caplog.text)
    assert len(counted) - 1 == (len(first.store.rows.chunks) if everything else 1)  # and once to see the sizes
    found = real(second(batch_of(second, tokens(), [*range(30)])))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert second.store.mend() is None


@pytest.mark.parametrize("damage", ["a bit", "cut off", "removed", "empty plan"])
def test_what_a_broken_filling_has_left_is_compared_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(layout, "CHUNK_ROWS", 5)
    first = cached(tmp_path, prepared(), tokens())
    assert first is not None
    expected, store = real(first(batch_of(first, tokens(), [*range(30)]))), first.store.folder
    (store / "complete").unlink()
    DAMAGES[damage][0](store)
    second = cached(tmp_path, prepared(), tokens())
    assert second is not None and "the teacher gives them again" in caplog.text
    found = real(second(batch_of(second, tokens(), [*range(30)])))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_files_that_a_broken_filling_has_left_do_not_count_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have their full size already: a disk that they nearly fill has room for them."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("distilnlp.teachers.store.Store.write", die)
        with pytest.raises(KeyboardInterrupt):
            cached(tmp_path, prepared(), tokens(), settings=CacheSettings())
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert cached(tmp_path, prepared(), tokens(), settings=CacheSettings()) is not None


@pytest.mark.parametrize("kind", ["max_gib", "disk", "full"])
def test_what_does_not_fit_is_not_kept_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    settings = {"max_gib": 1e-6} if kind == "max_gib" else {}
    if kind == "disk":
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    if kind == "full":

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("os.posix_fallocate", full)
    with caplog.at_level(logging.INFO, "distilnlp"):
        assert cached(tmp_path / "cache", prepared(), tokens(), settings=CacheSettings(**settings)) is None
    reason = {"max_gib": "cache.max_gib is 1.05 KiB", "disk": "80 % of the free disk", "full": "No space left"}
    assert reason[kind] in caplog.text and "the teacher answers every batch itself" in caplog.text
    with pytest.raises(RequestError, match=reason[kind]):
        cached(tmp_path / "cache", prepared(), tokens(), settings=CacheSettings(use="always", **settings))
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use": "sometimes"}, r"cache\.use.*sometimes"),
        ({"dtype": "fp16"}, r"cache\.dtype.*fp16"),
        ({"max_gib": 0}, "above 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        CacheSettings(**settings)


def test_a_recipe_has_the_same_settings_and_defaults() -> None:
    assert CacheSettings(**CacheSpec.model_validate({}).model_dump()) == CacheSettings()


# ---- in the trainer ----


@pytest.mark.parametrize(("epochs", "use", "asked"), [(1, "auto", 6), (3, "auto", 2), (3, "never", 18)])
def test_by_default_a_teacher_is_asked_once_where_that_pays(
    tmp_path: Path, counted: list[int], epochs: int, use: Any, asked: int
) -> None:
    """44 rows: 6 batches an epoch; one pass over all of them in one chunk, and one over the longest."""
    trainer = make_trainer(tmp_path, args={"num_train_epochs": epochs}, cache=CacheSettings(use=use))
    trainer.train()
    assert len(counted) == asked


def test_training_with_the_cache_is_training_without_it(tmp_path: Path) -> None:
    models = []
    for use in ("always", "never"):
        models.append(student_model())
        args = {"num_train_epochs": 3}
        make_trainer(tmp_path / use, model=models[-1], cache=CacheSettings(use=use), args=args).train()  # type: ignore[arg-type]
    assert largest_difference(*models) < 1e-6


def test_its_own_folder_goes_when_training_has_finished_and_stays_when_it_broke(
    tmp_path: Path, counted: list[int]
) -> None:
    broken = make_trainer(tmp_path, args={"num_train_epochs": 2})
    broken.create_optimizer = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        broken.train()
    assert (tmp_path / "teacher-cache").is_dir()
    asked = len(counted)
    make_trainer(tmp_path, args={"num_train_epochs": 2}).train()
    assert len(counted) == asked and not (tmp_path / "teacher-cache").exists()


def test_a_folder_that_is_named_is_kept_and_serves_the_next_student(tmp_path: Path, counted: list[int]) -> None:
    cache = CacheSettings(folder=str(tmp_path / "answers"))
    for seed in (2, 3):
        student = student_model(seed=seed)
        make_trainer(tmp_path / str(seed), model=student, cache=cache, args={"num_train_epochs": 2}).train()
    assert len(counted) == 2 and (tmp_path / "answers").is_dir()


@pytest.mark.slow
def test_a_search_asks_the_teacher_once_for_all_trials(tmp_path: Path, counted: list[int]) -> None:
    trainer = make_trainer(
        tmp_path,
        model=None,
        model_init=lambda trial=None: student_model(),
        eval_dataset=dataset(30),
        args={"eval_strategy": "epoch", "num_train_epochs": 2},
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)},
        n_trials=3,
        backend="optuna",
    )
    assert len(counted) == 2 and not (tmp_path / "teacher-cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_the_data_loader_read_the_answers(tmp_path: Path, counted: list[int], context: str) -> None:
    workers = {"dataloader_num_workers": 2, "dataloader_multiprocessing_context": context}
    trainer = make_trainer(tmp_path, args={"num_train_epochs": 2, **workers})
    trainer.train()
    assert len(counted) == 2


class Other:
    """A teacher of another kind: all that `Teacher` names, and nothing by which its answers could be known again."""

    def __init__(self) -> None:
        self.frozen = FrozenTeacher(teacher_model(), tiny_tokenizer())
        self.info, self.tokenizer, self.columns = self.frozen.info, self.frozen.tokenizer, self.frozen.columns
        self.label_names = self.frozen.label_names
        self.prepare, self.reorder_labels = self.frozen.prepare, self.frozen.reorder_labels
        self.released = 0

    def release(self) -> None:
        self.released += 1
        self.frozen.release()

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        return self.frozen(batch)


@pytest.mark.parametrize("make", [Other, EMATeacher])
def test_always_is_refused_for_a_teacher_whose_answers_may_change(tmp_path: Path, make: Callable[[], Teacher]) -> None:
    assert not isinstance(make(), Cacheable)
    with pytest.raises(RequestError, match="a teacher that never changes"):
        make_trainer(tmp_path, teacher=make(), cache=ALWAYS).train()


def test_a_teacher_of_another_kind_teaches_is_released_and_is_never_cached(tmp_path: Path) -> None:
    teacher, models = Other(), [student_model(), student_model()]
    for model, taught_by in zip(models, (teacher, teacher_model()), strict=True):
        args = {"num_train_epochs": 2}
        never = CacheSettings(use="never") if taught_by is not teacher else None
        make_trainer(tmp_path, model=model, teacher=taught_by, args=args, cache=never).train()
    assert teacher.released == 1 and not list(tmp_path.rglob("plan.json"))
    assert largest_difference(*models) == 0.0


def test_what_has_a_fingerprint_is_cached_whatever_its_class(tmp_path: Path, counted: list[int]) -> None:
    class Known(Other):
        needs, device = Needs(logits=True), torch.device("cpu")

        def fingerprint(self) -> str:
            return self.frozen.fingerprint()

    objective = Objective([(1.0, SoftTarget())])
    make_trainer(tmp_path, teacher=Known(), objective=objective, cache=ALWAYS).train()
    assert len(counted) == 2
