"""A bi-encoder from end to end: taught by a cross-encoder, measured, asked, and loaded by sentence-transformers."""

import json
from pathlib import Path

import numpy as np
import pytest

from distilnlp.cli import main
from distilnlp.models.loading import load_config
from distilnlp.recipe import load_recipe
from distilnlp.report.schema import Report, read_report
from distilnlp.run import run_recipe
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.tiny import CLASS_WORDS, FILLER, tiny_model, tiny_tokenizer

METRICS = ["ndcg@10", "mrr@10", "map"]


def question(number: int) -> tuple[str, list[str], list[str]]:
    """A query, its relevant text and three others."""
    rng = np.random.default_rng(number)
    words, others = CLASS_WORDS[number % 2], CLASS_WORDS[2 + number % 2]
    wrong = [f"{' '.join(rng.choice(others, 3))} {FILLER[place]}" for place in range(3)]
    return f"the {words[number % 5]} {FILLER[number % len(FILLER)]}", [" ".join(rng.choice(words, 3))], wrong


def write_lists(path: Path, numbers: range) -> Path:
    rows = [dict(zip(("query", "pos", "neg"), question(number), strict=True)) for number in numbers]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries with lists of texts, a cross-encoder, and a folder of sentence-transformers."""
    folder = tmp_path_factory.mktemp("retrieval")
    write_lists(folder / "train.jsonl", range(24))
    write_lists(folder / "dev.jsonl", range(24, 34))
    tiny_encoder(modules=PLAIN).save_pretrained(folder / "encoder")
    tiny_model("bert", num_labels=1, seed=1).save_pretrained(folder / "cross")  # as those on the Hub: no problem_type
    for model in ("encoder", "cross"):
        tiny_tokenizer().save_pretrained(folder / model)
    return folder


def run(place: Path, folder: str, *changes: str) -> Report:
    settings = [
        f"data.task={place / 'train.jsonl'}",
        f"data.validation={place / 'dev.jsonl'}",
        "data.max_length=32",
        f"stages.student.teacher={place / 'cross'}",
        f"stages.student.student.from={place / 'encoder'}",
        "stages.student.student.layers=1",
        "precision=fp32",
        "accept_weak_teacher=true",
        *changes,
    ]
    report = run_recipe(load_recipe("embeddings/bi-encoder.yaml", settings), place / folder, say=lambda _: None)
    assert report is not None
    return report


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    run(place, "run")
    return place / "run"


def said_by(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a command prints, in one line where it is an error."""
    assert main([*arguments]) == status
    printed = capsys.readouterr()
    return " ".join(printed.err.split()) if status else printed.out


def test_a_run_compares_cross_encoder_control_and_bi_encoder_by_the_order_of_texts(finished: Path) -> None:
    report = read_report(finished / "report.json")
    assert [stage.role for stage in report.stages] == ["teacher", "control", "student"]
    assert report.main_metric == "ndcg@10"
    assert all(list(stage.metrics) == METRICS for stage in report.stages)
    assert report.stages[-1].fidelity is not None
    card = (finished / "README.md").read_text()
    assert "library_name: sentence-transformers" in card and "SentenceTransformer(name)" in card


def test_sentence_transformers_loads_the_student_with_the_same_vectors_and_order(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    from distilnlp.run.vectors import make_vectors

    student = str(finished / "student")
    query, right, wrong = question(30)
    theirs = SentenceTransformer(student, device="cpu", local_files_only=True)
    vectors = theirs.encode([query, *right, *wrong])
    np.testing.assert_allclose(make_vectors(student, [query, *right, *wrong]), vectors, atol=1e-6)
    texts = [part for text in (*right, *wrong) for part in ("--text", text)]
    lines = said_by(capsys, "predict", student, "--query", query, *texts).splitlines()[1:]
    scores = theirs.similarity(vectors[:1], vectors[1:])[0].sort(descending=True).values
    assert [float(line.split("\t")[1]) for line in lines] == pytest.approx(scores.tolist(), abs=1e-4)
