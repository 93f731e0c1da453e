"""Damaged data of the kinds whose examples have a form of their own: words, questions, queries, texts, answers."""

import csv
import io
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distilnlp.cli import app
from distilnlp.data import load_task, tokenize
from distilnlp.data.recorded import RecordedColumns
from distilnlp.data.task import Task
from distilnlp.models.heads import model_from_config
from distilnlp.models.sentence_encoder import SENTENCE
from distilnlp.models.sentence_modules import SentenceModules
from distilnlp.problems import TEACHER_LOGITS
from tests.fuzz.answers import Case
from tests.fuzz.mutate import damage_bytes, damage_text, damage_values, strange
from tests.tiny import CLASS_WORDS, FILLER, tiny_model, tiny_tokenizer

__all__ = ["FORMS", "Form", "damaged_form", "model_folder", "written"]

COUNT = 24
LENGTH = 16
TAGS = ("O", "B-colour", "I-colour", "B-number")
LABELS = ("bad", "good")
RANKING, WORDS, VECTORS = "ranking", "masked_lm", "sentence_embedding"

Rows = list[dict[str, Any]]


@dataclass
class Form:
    """Examples as a user has them.

    Args:
        kinds: of file, the endings.
        tree: what is damaged: rows, or a nested file.
        problem: the kind of task.
        options: of `load_task`.
        held_out: pairs to measure on; None: some of the rows.
        examples: how many there are in a tree; None: a row each.
    """

    kinds: tuple[str, ...]
    tree: Any
    problem: str
    options: dict[str, Any] = field(default_factory=dict)
    held_out: Rows | None = None
    examples: Callable[[Any], int] | None = len


def damaged_form(rng: random.Random, folder: Path, data: str, model: str) -> Case:
    """A file that is loaded and tokenised, or trained on or answered by a command, which leaves nothing if refused."""
    name = rng.choice(list(FORMS))
    form = FORMS[name](rng)
    kind = rng.choice(form.kinds)
    path = folder / f"data.{kind}"
    said = [_damaged(rng, form.tree) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    raw = written(kind, form.tree)
    known = True  # whether it is known how many examples there are
    if rng.random() < 0.3:
        known = False
        said.append("bytes" if kind == "parquet" else "text")
        raw = damage_bytes(rng, raw) if kind == "parquet" else _damaged_text(rng, raw)
    path.write_bytes(raw)
    options = dict(form.options)
    if form.held_out is not None:
        said += [_damaged(rng, form.held_out) for _ in range(rng.choice((0, 0, 1)))]
        other = folder / "held_out.jsonl"
        other.write_bytes(written("jsonl", form.held_out))
        options["validation"] = str(other)
    if rng.random() < 0.1:
        options |= _strange_option(rng)
        known = False
    how = rng.random()
    what = f"{name} {kind}: {'; '.join(said) or 'whole'} {options or ''}"
    if how < 0.08 and "recorded" not in options:
        return Case(f"{what}, finetune or distill", lambda: _train(folder, path, form.problem, options))
    if how < 0.16:
        return Case(f"{what}, predict", lambda: _predict(folder, path, form.problem))

    def call() -> None:
        task = load_task(str(path), **options)
        count = form.examples(form.tree) if known and form.examples is not None else None
        check_task(task, count)
        for rows, held_out in ((task.train, False), (task.validation, True)):
            if task.problem.vectors and held_out:
                continue
            tokenised = tokenize(rows, tiny_tokenizer(), LENGTH, problem=task.problem, held_out=held_out)
            assert len(tokenised), "rows without an input"

    return Case(what, call)


# ---- what is asked ----


def check_task(task: Task, count: int | None) -> None:
    """What holds for every task that is loaded, whatever the file was.

    Args:
        count: the examples that the file has.
    """
    name = task.problem.name
    for rows in (task.train, task.validation):
        assert rows is not None and len(rows)
        for row in rows.to_list():
            _check_row(row, name if "label" in row else "", task.label_names)
    if count is not None and name not in (RANKING, WORDS, VECTORS):  # their rows are put together or left out
        loaded = len(task.train or ()) + len(task.validation or ())
        assert loaded == count, f"{count} examples in the file and {loaded} in the task"


def _check_row(row: dict[str, Any], problem: str, names: tuple[str, ...] | None) -> None:
    text, label = row["text"], row.get("label")
    if problem == "token_classification":
        assert len(text) == len(label) > 0 and all(0 <= tag < len(names or ()) for tag in label), row
        assert all(isinstance(word, str) for word in text), row
    elif problem == "question_answering":
        assert text.strip() and row["text_pair"].strip(), row
        for found, start in zip(label["text"], label["answer_start"], strict=True):
            assert found and row["text_pair"][start : start + len(found)] == found, row
    elif problem == RANKING:
        assert len(row["text_pair"]) == len(label) and max(label) > 0 and min(label) >= 0, row
        assert all(each.strip() for each in row["text_pair"]) and all(map(math.isfinite, label)), row
    elif problem:
        assert label is None or not isinstance(label, float) or math.isfinite(label) or TEACHER_LOGITS in row, row
    texts = [row.get("text_pair"), text] if isinstance(text, str) else []
    assert all(each.strip() for each in texts if isinstance(each, str)), row
    logits = row.get(TEACHER_LOGITS, [])
    assert all(map(math.isfinite, logits)) and (not names or len(logits) in (0, len(names))), row


def _train(folder: Path, path: Path, problem: str, options: dict[str, Any]) -> None:
    """Two steps; what is refused leaves nothing."""
    model = model_folder(folder, problem)
    words = ["finetune", str(path), "--model", model]
    if problem in (WORDS, VECTORS):
        words = ["distill", str(path), "--teacher", model, "--student-layers", "1"]
    named = {"problem_type", "validation", "without_relevant", "text", "text_pair", "label"} & options.keys()
    words += [f"--{key.replace('_', '-')}={options[key]}" for key in sorted(named) if options[key] is not None]
    words += [f"--set=stages.{'student' if words[0] == 'distill' else 'teacher'}.training.max_steps=2"]
    words += ["--max-length", str(LENGTH), "--batch-size", "4", "-o", str(folder / "out"), "--set=precision=fp32"]
    _asked(folder, words)


def _predict(folder: Path, path: Path, problem: str) -> None:
    words = ["predict", model_folder(folder, problem), "--input", str(path), "-o", str(folder / "out.jsonl")]
    _asked(folder, [*words, "--max-length", str(LENGTH)])


def _asked(folder: Path, words: list[str]) -> None:
    before = {*folder.rglob("*")}
    try:
        app(args=words, prog_name="distilnlp", standalone_mode=False)
    except BaseException:
        # What a run claims its folder with says nothing of a training, and gives way to the next recipe.
        claimed = {folder / "out" / name for name in ("", ".lock", "manifest.json", "recipe.yaml", "environment.json")}
        left = [str(each.relative_to(folder)) for each in {*folder.rglob("*")} - before - claimed]
        assert not left, f"refused, and {', '.join(left)} is there"
        raise


def model_folder(folder: Path, problem: str) -> str:
    """A tiny model with a head for the kind of task."""
    place = folder / "model"
    names = {"token_classification": TAGS, "regression": ("LABEL_0",)}.get(problem, LABELS)
    config = tiny_model("bert", layers=2, label_names=names, problem_type=problem).config
    if problem == RANKING:
        config.num_labels = 1
    if problem == VECTORS:
        setattr(config, SENTENCE, SentenceModules(("mean",), max_tokens=64).to_dict())
    model_from_config(config).save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return str(place)


# ---- damage ----


def _damaged(rng: random.Random, tree: Any) -> str:
    """One value, or all of a column."""
    rows = tree if isinstance(tree, list) else []
    if rows and rng.random() < 0.15:
        name = rng.choice(list(rows[0])) if isinstance(rows[0], dict) and rows[0] else "text"
        value = strange(rng)
        for row in rows:
            if isinstance(row, dict):
                row[name] = value
        return f"{name} is {repr(value)[:60]} throughout"
    return damage_values(rng, tree)


def _strange_option(rng: random.Random) -> dict[str, Any]:
    names = ("text", "text_pair", "label", "tokens", "query", "pos", "neg", "question", "context", "answers")
    key = rng.choice(("text", "text_pair", "label", "problem_type", "max_train", "group_size", "weight"))
    if key == "problem_type":
        kinds = ("regression", "token_classification", "question_answering", RANKING, WORDS, VECTORS)
        return {key: rng.choice(kinds)}
    return {key: rng.choice((0, 1, 2, 5) if key in ("max_train", "group_size") else names)}


def _damaged_text(rng: random.Random, raw: bytes) -> bytes:
    return damage_text(rng, raw.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")


# ---- files ----


def written(kind: str, tree: Any) -> bytes:
    """Rows as a file has them; what a kind of file cannot hold as its text."""
    if kind in ("conll", "txt"):
        return _lines(kind, tree).encode("utf-8", "surrogatepass")
    if kind == "json":
        return json.dumps(tree).encode()
    if kind == "jsonl":
        return "\n".join(json.dumps(row) for row in tree).encode()
    rows = [row if isinstance(row, dict) else {"text": row} for row in tree]
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    if kind == "csv":
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
        return file.getvalue().encode("utf-8", "surrogatepass")
    columns = {name: _array([row.get(name) for row in rows]) for name in names}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _lines(kind: str, rows: Rows) -> str:
    if kind == "txt":
        return "\n".join(str(row.get("text") if isinstance(row, dict) else row) for row in rows)
    sentences = []
    for row in rows:
        own = row if isinstance(row, dict) else {"tokens": [row]}
        words, tags = (each if isinstance(each, list) else [each] for each in (own.get("tokens"), own.get("tags")))
        sentences.append("".join(f"{' '.join(map(str, pair))}\n" for pair in zip(words, tags, strict=False)))
    return "\n".join(sentences)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _array(values: list[Any]) -> pa.Array:
    try:
        made = pa.array(values)
        pq.write_table(pa.table({"a": made}), io.BytesIO())
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return pa.array([json.dumps(value) for value in values])
    return made


# ---- whole forms ----


def _sentence(rng: random.Random, row: int) -> list[str]:
    return [rng.choice(FILLER) for _ in range(4 + row % 3)]


def _text(rng: random.Random, row: int) -> str:
    return " ".join([*_sentence(rng, row), CLASS_WORDS[row % 4][row // 4 % 5]])


def _tagged(rng: random.Random) -> Form:
    rows = []
    for row in range(COUNT):
        words = [*_sentence(rng, row), CLASS_WORDS[2 + row % 2][row % 5], "very"]
        tags = ["O"] * (len(words) - 2) + [("B-colour", "B-number")[row % 2], ("I-colour", "O")[row % 2]]
        rows.append({"tokens": words, "tags": tags})
    return Form(("jsonl", "json", "parquet", "conll"), rows, "token_classification", examples=None)


def _tag_ids(rng: random.Random) -> Form:
    form = _tagged(rng)
    for row in form.tree:
        row["ner_tags"] = [TAGS.index(tag) for tag in row.pop("tags")]
    return Form(("jsonl", "parquet"), form.tree, form.problem, {"label_names": list(TAGS)})


def _spans(rng: random.Random) -> Form:
    rows = []
    for row in range(COUNT):
        text = _text(rng, row)
        start = text.rindex(" ") + 1
        rows.append({"text": text, "entities": [{"start": start, "end": len(text), "label": ("a", "b")[row % 2]}]})
    return Form(("jsonl", "json", "parquet"), rows, "token_classification")


def _answered(rng: random.Random, row: int) -> tuple[str, dict[str, Any]]:
    context = _text(rng, row)
    start = context.rindex(" ") + 1
    return context, {"text": [context[start:]], "answer_start": [start]} if row % 4 else {
        "text": [],
        "answer_start": [],
    }


def _questions(rng: random.Random) -> Form:
    rows = []
    for row in range(COUNT):
        context, answers = _answered(rng, row)
        rows.append({"question": f"is it {CLASS_WORDS[3][row % 5]}", "context": context, "answers": answers})
    return Form(("jsonl", "json", "parquet"), rows, "question_answering")


def _squad(rng: random.Random) -> Form:
    paragraphs = []
    for row in range(COUNT // 2):
        context, answers = _answered(rng, row)
        pairs = [
            dict(zip(("text", "answer_start"), each, strict=True)) for each in zip(*answers.values(), strict=True)
        ]
        asked = [
            {"id": f"{row}{i}", "question": f"is it {CLASS_WORDS[3][i]}", "answers": pairs, "is_impossible": not pairs}
            for i in range(2)
        ]
        paragraphs.append({"context": context, "qas": asked})
    tree = {"version": "2.0", "data": [{"title": "films", "paragraphs": paragraphs}]}
    return Form(("json",), tree, "question_answering", examples=None)


def _ranked_rows(rng: random.Random) -> Form:
    rows = [
        {"query": f"is it {FILLER[row // 3]}", "text": _text(rng, row), "label": int(row % 3 == 0)}
        for row in range(COUNT * 2)
    ]
    return Form(("csv", "jsonl", "parquet"), rows, RANKING, {"problem_type": RANKING, **_lost(rng)})


def _ranked_lists(rng: random.Random) -> Form:
    rows = [
        {"query": f"is it {FILLER[row % 20]}", "pos": [_text(rng, row)], "neg": [_text(rng, row + i) for i in (1, 2)]}
        for row in range(20)
    ]
    return Form(("jsonl", "json", "parquet"), rows, RANKING, _lost(rng))


def _triplets(rng: random.Random) -> Form:
    rows = [
        {"anchor": f"is it {FILLER[row % 20]}", "positive": _text(rng, row), "negative": _text(rng, row + 1)}
        for row in range(20)
    ]
    return Form(("csv", "jsonl", "parquet"), rows, RANKING, {"problem_type": RANKING, **_lost(rng)})


def _lost(rng: random.Random) -> dict[str, Any]:
    return rng.choice(({}, {}, {"without_relevant": "leave_out"}))


def _raw(rng: random.Random) -> Form:
    rows = [{"text": _text(rng, row)} for row in range(COUNT)]
    return Form(("txt", "csv", "jsonl", "parquet"), rows, WORDS, {"problem_type": WORDS})


def _embedded(rng: random.Random) -> Form:
    pairs = [{"text": _text(rng, row), "text_pair": _text(rng, row + 7), "label": row / 10} for row in range(12)]
    form = _raw(rng)
    return Form(form.kinds, form.tree, VECTORS, {"problem_type": VECTORS}, held_out=pairs)


def _recorded(rng: random.Random) -> Form:
    how = rng.randrange(5)
    rows: Rows = []
    for row in range(COUNT):
        share = rng.choice((0.25, 0.5, 0.875))
        answer: dict[str, Any] = (
            {"probs": dict(zip(LABELS, (share, 1 - share), strict=True))},
            {"probs": [share, 1 - share]},
            {f"prob_{LABELS[0]}": share, f"prob_{LABELS[1]}": 1 - share},
            {"answer": LABELS[row % 2], "sure": share},
            {"score": share},
        )[how]
        label = {"label": LABELS[row % 2]} if how < 4 else {}
        rows.append({"text": _text(rng, row), **(label if row or rng.random() < 0.5 else {}), **answer})
    columns = ("probs", "probs", "prob_*", "answer", "score")[how]
    spec = RecordedColumns(
        (columns,), confidence="sure" if how == 3 else None, missing=rng.choice(("refuse", "label"))
    )
    problem = "regression" if how == 4 else "single_label_classification"
    return Form(("csv", "jsonl", "parquet"), rows, problem, {"recorded": spec})


FORMS = {
    "words and tags": _tagged,
    "words and ids": _tag_ids,
    "entities": _spans,
    "questions": _questions,
    "nested questions": _squad,
    "rows of queries": _ranked_rows,
    "lists of queries": _ranked_lists,
    "triplets": _triplets,
    "raw texts": _raw,
    "texts and pairs": _embedded,
    "recorded answers": _recorded,
}
