"""Answers that are written into a file are those of the models, and whole whenever the writing is broken off."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from torch.multiprocessing.spawn import spawn
from transformers import AutoModelForTokenClassification

from distilnlp.data import load_task
from distilnlp.data.recorded import RecordedColumns
from distilnlp.errors import RequestError, RunError
from distilnlp.losses import HardLabel, Objective, SoftTarget
from distilnlp.models import Predictor
from distilnlp.problems import TEACHER_LOGITS, get_problem
from distilnlp.run import answering
from distilnlp.run import label as label_module
from distilnlp.run.label import label_data
from distilnlp.teachers import RecordedTeacher
from distilnlp.training.trainer import DistillationTrainer
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.runs import arguments, largest_difference, without_dropout
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer

NAMES = ("bad", "good", "mixed")
TEXTS = ["a good film", "a bad film", "the meal was fine and very good", "red book", "poor", "we saw it"] * 4


@pytest.fixture
def teachers(tmp_path):
    for seed, names in enumerate((NAMES, ("mixed", "bad", "good"))):
        folder = tmp_path / f"teacher{seed}"
        tiny_model("bert", label_names=names, seed=seed).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    return [str(tmp_path / "teacher0"), str(tmp_path / "teacher1")]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n\n")
    return str(path)


def labelled(texts, teachers, output, **settings):
    said: list[str] = []
    label_data(texts, teachers, output, say=said.append, batch_size=4, **settings)
    return said


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return [{**row, "probs": json.loads(row["probs"])} for row in csv.DictReader(file)]


def probabilities(teacher):
    logits = Predictor.load(teacher, batch_size=4).logits(TEXTS).astype(np.float64)
    return get_problem("single_label_classification").probabilities_of(logits)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_each_text_gets_the_probabilities_of_the_model(tmp_path, texts, teachers, suffix):
    output = tmp_path / f"soft{suffix}"
    said = labelled(texts, teachers[:1], output)
    rows = read(output)

    assert [row["text"] for row in rows] == TEXTS and list(rows[0]["probs"]) == list(NAMES)
    np.testing.assert_allclose([list(row["probs"].values()) for row in rows], probabilities(teachers[0]), rtol=1e-6)
    assert said == ["24 of 24 texts (100 %)"]


def test_an_ensemble_is_the_mean_whatever_order_its_models_have(tmp_path, texts, teachers):
    output = tmp_path / "soft.jsonl"
    labelled(texts, teachers, output)
    mean = (probabilities(teachers[0]) + probabilities(teachers[1])[:, [1, 2, 0]]) / 2

    np.testing.assert_allclose([list(row["probs"].values()) for row in read(output)], mean, rtol=1e-6)


def test_the_file_teaches_with_the_same_logits(tmp_path, texts, teachers):
    output = tmp_path / "soft.jsonl"
    labelled(texts, teachers[:1], output, values="logits")
    task = load_task(output, recorded=RecordedColumns(("logits",)))
    own = dict(zip(TEXTS, Predictor.load(teachers[0], batch_size=4).logits(TEXTS), strict=True))

    assert task.label_names == NAMES
    for text, logits in zip(task.train["text"], task.train[TEACHER_LOGITS], strict=True):
        np.testing.assert_allclose(logits, own[text], atol=1e-6)


def test_labels_are_kept_beside_the_answers(tmp_path, teachers):
    source = tmp_path / "data.csv"
    source.write_text("text,label\na good film,good\na bad film,bad\n")
    labelled(str(source), teachers[:1], tmp_path / "soft.jsonl")

    assert [row["label"] for row in read(tmp_path / "soft.jsonl")] == ["good", "bad"]


def test_a_broken_call_goes_on_and_leaves_nothing_half_written(tmp_path, texts, teachers, monkeypatch):
    monkeypatch.setattr(label_module, "PART_ROWS", 8)
    output, asked = tmp_path / "soft.jsonl", []
    answers = answering._mean_answers

    def break_off(rows, *rest):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(rows)
        return answers(rows, *rest)

    monkeypatch.setattr(answering, "_mean_answers", break_off)
    with pytest.raises(KeyboardInterrupt):
        labelled(texts, teachers[:1], output)
    assert not output.exists()
    monkeypatch.setattr(answering, "_mean_answers", lambda rows, *rest: asked.append(rows) or answers(rows, *rest))
    labelled(texts, teachers[:1], output)

    assert len(asked) == 3 and [row["text"] for row in read(output)] == TEXTS
    assert not list(tmp_path.glob(".soft*"))


def test_what_another_call_left_is_not_taken(tmp_path, texts, teachers, monkeypatch):
    output = tmp_path / "soft.jsonl"
    monkeypatch.setattr(label_module, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        labelled(texts, teachers[:1], output)
    monkeypatch.undo()
    labelled(texts, teachers[1:], output)

    expected = probabilities(teachers[1])
    np.testing.assert_allclose([list(row["probs"].values()) for row in read(output)], expected, rtol=1e-6)


def test_models_that_have_no_mean_are_refused(tmp_path, texts, teachers):
    tiny_model("bert", label_names=("one", "two", "three")).save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(RequestError, match=r"the labels of .*other are one, two, three and those of .*teacher0 bad"):
        labelled(texts, [teachers[0], str(tmp_path / "other")], tmp_path / "soft.jsonl")
    tiny_model("bert", num_labels=1, problem_type="regression").save_pretrained(tmp_path / "other")
    with pytest.raises(RequestError, match=r"is for regression and .* for single_label_classification"):
        labelled(texts, [teachers[0], str(tmp_path / "other")], tmp_path / "soft.jsonl")
    assert not (tmp_path / "soft.jsonl").exists()


# ---- several processes ----


def _ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def killed_by(folder, after, *settings):
    """Start the command as in the background, and kill it when so many parts are there; what is left."""
    command = [sys.executable, "-m", "distilnlp", "label", *settings]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_ignore_interrupts)
        while process.poll() is None and len(list(folder.glob(".soft.jsonl.parts/*.npy"))) < after:
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
    return children


class OneAfterTheOther:
    """In place of processes, which take seconds to start."""

    def __init__(self, function, given, nprocs, join):
        self.processes, self.ranks = [], nprocs
        for rank in range(nprocs):
            function(rank, *given)

    def join(self, timeout):
        return True


@pytest.mark.parametrize("start", [OneAfterTheOther, pytest.param(spawn, marks=pytest.mark.slow)])
def test_several_processes_write_the_same_file(tmp_path, teachers, monkeypatch, start):
    monkeypatch.setattr(label_module, "PART_ROWS", 4)
    monkeypatch.setattr(answering, "spawn", start)
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(f"{text} {'very ' * (row % 7)}good" for row, text in enumerate(TEXTS)))
    threads = torch.get_num_threads()
    said = [labelled(str(source), teachers, tmp_path / f"{n}.jsonl", processes=n) for n in (1, 2)]
    torch.set_num_threads(threads)
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    assert said[0][-1] == said[1][-1] == "24 of 24 texts (100 %)"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_an_error_of_a_process_is_one_line_and_what_it_did_is_kept(tmp_path, texts, teachers, monkeypatch):
    """The vector of one word is of numbers so large that their sum is none."""
    monkeypatch.setattr(label_module, "PART_ROWS", 8)
    model = tiny_model("bert", label_names=NAMES)
    model.bert.embeddings.word_embeddings.weight.data[VOCAB.index("poor")] = 3e38
    model.save_pretrained(tmp_path / "broken")
    tiny_tokenizer().save_pretrained(tmp_path / "broken")
    with pytest.raises(RunError, match=r"^\d+ of \d+ examples have logits that are not finite: .* is kept") as raised:
        labelled(texts, [str(tmp_path / "broken")], tmp_path / "soft.jsonl", processes=2)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "soft.jsonl").exists()


@pytest.mark.slow(40)
def test_a_killed_command_leaves_no_process_and_goes_on(tmp_path, teachers):
    source = tmp_path / "texts.txt"
    # So many, and so few at a time, that the command is dead seconds before its processes would be through.
    source.write_text("\n".join(f"{text} {'very ' * (row % 9)}good" for row, text in enumerate(TEXTS * 800)))
    settings = [str(source), "--teacher", teachers[0], "-o", str(tmp_path / "soft.jsonl"), "--processes", "2"]
    settings += ["--batch-size", "4"]
    children = killed_by(tmp_path, 1, *settings)
    assert children and not (tmp_path / "soft.jsonl").exists()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    before = len(list(tmp_path.glob(".soft.jsonl.parts/*.npy")))
    assert 1 <= before < 75
    said: list[str] = []
    label_data(str(source), teachers[:1], tmp_path / "soft.jsonl", processes=2, batch_size=4, say=said.append)
    assert int(said[0].split()[0]) >= 256 * before
    label_data(str(source), teachers[:1], tmp_path / "one.jsonl", batch_size=4, say=said.append)
    assert (tmp_path / "soft.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


# ---- words with tags ----

TAGS = ("O", "B-film", "I-film")


@pytest.fixture
def tagger(tmp_path):
    """A model that tags words, and sentences with tags; every fourth is longer than a window."""
    config = tiny_model("bert", label_names=TAGS).config
    config.problem_type = None
    torch.manual_seed(3)
    AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path / "tagger")
    tiny_tokenizer().save_pretrained(tmp_path / "tagger")
    rows = [
        {"tokens": words, "tags": [TAGS[len(word) % 3] for word in words]}
        for words in ([*text.split(), "film", "book"] * (8 if row % 4 == 0 else 1) for row, text in enumerate(TEXTS))
    ]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path / "tagger"), str(tmp_path / "words.jsonl"), rows


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_each_word_gets_the_probabilities_of_the_model(tmp_path, tagger, suffix):
    teacher, source, rows = tagger
    output = tmp_path / f"soft{suffix}"
    label_data(source, [teacher], output, batch_size=4, max_length=20, say=lambda _: None)
    found = read(output)

    assert [{"tokens": row["tokens"], "tags": row["tags"]} for row in found] == rows
    logits = Predictor.load(teacher, batch_size=4, max_length=20).logits([(row["tokens"],) for row in rows])
    expected = get_problem("token_classification").probabilities_of(logits.astype(np.float64))
    given = [[word[tag] for tag in TAGS] for row in found for word in row["probs"]]
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_what_is_written_teaches_as_the_model_itself_does(tmp_path, tagger):
    """The same student after some steps, to rounding, with sentences in windows and in one."""
    teacher, source, _ = tagger
    label_data(source, [teacher], tmp_path / "soft.jsonl", max_length=20, say=lambda _: None)
    students = []
    for recorded in (None, RecordedColumns(("probs",))):
        task = load_task(source if recorded is None else tmp_path / "soft.jsonl", recorded=recorded)
        name = teacher if recorded is None else RecordedTeacher(task.label_names, task.problem)
        student = AutoModelForTokenClassification.from_pretrained(teacher)
        torch.manual_seed(5)
        student.classifier.reset_parameters()
        trainer = DistillationTrainer(
            without_dropout(student),
            name,
            Objective([(0.3, HardLabel()), (0.7, SoftTarget(temperature=2.0))]),
            arguments(tmp_path / "run", num_train_epochs=2),
            train_dataset=task.train,
            processing_class=tiny_tokenizer(),
            max_length=20,
        )
        trainer.train()
        students.append(trainer.model)
    start = AutoModelForTokenClassification.from_pretrained(teacher)

    assert largest_difference(*students) < 1e-6 < 1e-4 < largest_difference(students[0], start)


@pytest.mark.parametrize(
    ("make", "suffix", "message"),
    [
        (
            lambda row: {"text": " ".join(row["tokens"])},
            ".jsonl",
            "is for token_classification and the texts are whole",
        ),
        (lambda row: row, ".csv", "a csv has no lists of words"),
    ],
)
def test_what_a_tagger_cannot_write_is_refused(tmp_path, tagger, make, suffix, message):
    teacher, _, rows = tagger
    (tmp_path / "other.jsonl").write_text("\n".join(json.dumps(make(row)) for row in rows))
    with pytest.raises(RequestError, match=message):
        label_data(str(tmp_path / "other.jsonl"), [teacher], tmp_path / f"soft{suffix}", say=lambda _: None)


def test_words_are_no_texts_for_a_classifier(tmp_path, tagger, teachers):
    with pytest.raises(RequestError, match="single_label_classification and the texts are lists of words: give texts"):
        label_data(tagger[1], teachers[:1], tmp_path / "soft.jsonl", say=lambda _: None)


@pytest.mark.parametrize("values", ["probabilities", "logits"])
def test_vectors_are_no_answers_to_record(tmp_path, texts, values):
    tiny_encoder(modules=PLAIN).save_pretrained(tmp_path / "encoder")
    tiny_tokenizer().save_pretrained(tmp_path / "encoder")
    with pytest.raises(RequestError, match="gives vectors, which are no answers that are recorded: distil from the"):
        labelled(texts, [str(tmp_path / "encoder")], tmp_path / "soft.jsonl", values=values)


# ---- queries with texts ----

QUERIES = [
    {"query": "the good film", "pos": ["good film"], "neg": ["blue book", "bad"]},
    {"query": "the blue book", "pos": [], "neg": ["it"]},
]


@pytest.fixture
def rankers(tmp_path):
    """One that was trained here, and one as those of the Hub: one label of another name, and no problem_type."""
    for name, kind, labels in (("ours", "ranking", ["LABEL_0"]), ("hub", None, ["relevance"])):
        tiny_model("bert", label_names=labels, problem_type=kind, seed=len(name)).save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    return [str(tmp_path / "ours"), str(tmp_path / "hub")]


def write_rows(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_each_text_of_a_query_gets_a_score(tmp_path, rankers, suffix):
    output = tmp_path / f"soft{suffix}"
    said: list[str] = []
    count = label_data(write_rows(tmp_path / "lists.jsonl", QUERIES), rankers, output, say=said.append)
    assert count == 4 and said == ["2 of 2 queries (100 %)"]
    first, second = read(output)
    assert first["query"] == "the good film" and first["label"] == [1.0, 0.0, 0.0]
    assert second["texts"] == ["it"] and second["label"] == [0.0]  # no order is needed to answer
    pairs = [("the good film", text) for text in first["texts"]]
    scores = [Predictor.load(name, problem=get_problem("ranking")).logits(pairs)[:, 0] for name in rankers]
    np.testing.assert_allclose(first["scores"], np.mean(scores, axis=0), atol=1e-6)


def test_rows_of_a_query_and_a_text_are_told_by_the_model_and_those_without_relevance_stay_so(tmp_path, rankers):
    rows = [{"query": f"q{i % 3}", "text": f"t{i}", "label": None if i % 3 else i} for i in range(6)]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    label_data(source, rankers[:1], tmp_path / "soft.jsonl", say=lambda _: None)
    found = read(tmp_path / "soft.jsonl")
    assert [row["label"] for row in found] == [[0.0, 3.0], None, None]
    assert [row["texts"] for row in found] == [["t0", "t3"], ["t1", "t4"], ["t2", "t5"]]


@pytest.mark.parametrize("kind", ["ranking", "retrieval"])
def test_scores_that_were_written_are_read_again(tmp_path, rankers, kind):
    lists = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": ["n"]} for i in range(12)]
    source = write_rows(tmp_path / "lists.jsonl", lists)
    label_data(source, rankers[:1], tmp_path / "soft.jsonl", say=lambda _: None)
    found = {row["query"]: row["scores"] for row in read(tmp_path / "soft.jsonl")}
    task = load_task(tmp_path / "soft.jsonl", problem_type=kind, recorded=RecordedColumns(("scores",)))
    for row in task.train:
        assert row["teacher_logits"] == pytest.approx(found[row["text"]]) and row["label"] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("model", "rows", "output", "message"),
    [
        ("classes", QUERIES, "soft.jsonl", "single_label_classification, and the data have queries with their texts"),
        ("ours", QUERIES, "soft.csv", "a csv has no lists of texts"),
        ("ours", [{"text": "good"}], "soft.jsonl", "which column has the query"),
    ],
)
def test_queries_and_models_that_do_not_fit_are_told(tmp_path, rankers, model, rows, output, message):
    tiny_model("bert", label_names=("no", "yes")).save_pretrained(tmp_path / "classes")
    tiny_tokenizer().save_pretrained(tmp_path / "classes")
    source = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(RequestError, match=message):
        label_data(source, [str(tmp_path / model)], tmp_path / output, say=lambda _: None)
    with pytest.raises(RequestError, match="the data have none: give queries and texts"):
        label_data("mnli-sample", rankers[:1], tmp_path / "soft.jsonl", say=lambda _: None)
    assert not (tmp_path / output).exists()
