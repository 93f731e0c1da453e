"""Students that keep some of their teacher's tokens: made of the stage's texts, taught as ever, saved whole."""

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from distilnlp.data import load_task
from distilnlp.data.tokenize import reader_for
from distilnlp.errors import RequestError
from distilnlp.models import load_tokenizer
from distilnlp.recipe import make_recipe
from distilnlp.report.schema import read_report
from distilnlp.run import run_recipe, vocabulary
from distilnlp.run.folder import RunFolder
from distilnlp.run.models import Models
from distilnlp.run.plan import make_plan
from tests.masked import masked_folder
from tests.run import test_questions, test_retrieval
from tests.run.conftest import TRAINING
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer

place = test_retrieval.place  # a fixture

BY_TOKEN = {"hidden_state": {}, "attention_scores": {}}
OF_TEXTS = {"hard_label": {"weight": 0.5}, "soft_target": {"weight": 0.5}}


def trimmed(values, *, objective=None, **vocabulary):
    """The recipe of the fixture, whose student keeps some tokens and learns from each of the teacher's."""
    stage = {**values["stages"]["student"], "objective": objective or {**OF_TEXTS, **BY_TOKEN}}
    stage["student"] = {**stage["student"], "vocabulary": vocabulary}
    return {**values, "stages": {**values["stages"], "student": stage}}


def run(values, folder, **settings):
    said = []
    run_recipe(make_recipe(values, name="films"), folder, say=said.append, **settings)
    return said


def tokens_of(folder):
    tokenizer = load_tokenizer(folder)
    return tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


@pytest.mark.slow
def test_a_student_keeps_the_tokens_of_its_texts_and_learns_each_of_them(values, tmp_path):
    """Attention and hidden states among them: both models read the same pieces, which only have other numbers."""
    said = run(trimmed(values), tmp_path)
    folder = tmp_path / "student"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().weight.shape[0] < len(VOCAB)
    assert {"film", "[CLS]", "[MASK]"} <= tokenizer.get_vocab().keys() and "blue" not in tokenizer.get_vocab()
    assert model(**tokenizer("the film was good", return_tensors="pt")).logits.isfinite().all()
    assert any(f"student: vocabulary of {len(tokenizer)} of {len(VOCAB)} tokens; 100.0%" in line for line in said)
    assert read_report(tmp_path / "report.json").stage("student").score is not None
    assert tokens_of(tmp_path / "teacher") == VOCAB
    assert "are finished" in " ".join(run(trimmed(values), tmp_path))


MADE = {
    "of layers": {},
    "by importance": {
        "layers": 2,
        "layer_map": "importance",
        "choose": "importance",
        "config": {"intermediate_size": 24},
    },
    "of a lower rank": {"architecture": "albert", "config": {"embedding_size": 12}},
}


@pytest.mark.slow
@pytest.mark.parametrize("student", MADE.values(), ids=MADE.keys())
def test_a_student_of_a_trimmed_vocabulary_learns_what_one_of_the_whole_would(values, tmp_path, student):
    """The pieces are the same, so that each weight but the rows that are gone moves alike.

    What is chosen or made for the texts is asked of the teacher, in the numbers that it knows them by.
    """
    values["stages"]["student"]["student"] |= student
    del values["stages"]["control"]
    run(trimmed(values), tmp_path / "trimmed")
    whole = trimmed(values)
    del whole["stages"]["student"]["student"]["vocabulary"]
    run(whole, tmp_path / "whole")
    folders = [tmp_path / name / "student" for name in ("trimmed", "whole")]
    models = [AutoModelForSequenceClassification.from_pretrained(folder) for folder in folders]
    kept = [VOCAB.index(token) for token in tokens_of(folders[0])]
    for (name, small), (_, large) in zip(*(model.state_dict().items() for model in models), strict=True):
        rows = large if small.shape == large.shape else large[kept]
        torch.testing.assert_close(small, rows, atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
def test_what_texts_are_cut_otherwise_the_teacher_reads_as_it_always_has(values, tmp_path):
    """A vocabulary of a size leaves words out: the teacher still knows them, and losses between texts go on."""
    said = run(trimmed(values, size=12, objective={**OF_TEXTS, "hidden_state": {}}), tmp_path)
    assert len(tokens_of(tmp_path / "student")) == 12
    told = next(line for line in said if line.startswith("student: vocabulary of 12 of 47 tokens"))
    assert "0.0% of the held-out texts are cut as before; 38.10% of their tokens are unknown (14.29% before)" in told


def test_training_texts_are_read_once_for_all_plans_that_share_their_counts(values, tmp_path, csv_file, monkeypatch):
    """As a search has them; each loads a tokenizer of its own."""
    task, read = load_task(csv_file), []

    def noting(rows, *settings):
        read.append(rows)
        return reader_for(rows, *settings)

    monkeypatch.setattr(vocabulary, "reader_for", noting)
    counts = vocabulary.TokenCounts()
    for size in (None, 12, 20):
        plan = make_plan(make_recipe(trimmed(values, objective=OF_TEXTS, size=size), name="films"))
        models = Models(plan, dict.fromkeys(plan.stages, task), RunFolder(tmp_path / "run"), counts)
        models.check()
        assert len(models.tokenizer("student")) == size or size is None
    assert sum(rows is task.train for rows in read) == 1


def test_attention_over_texts_that_are_cut_otherwise_is_refused(values, tmp_path):
    with pytest.raises(RequestError, match="attention_scores compares what the models have for each token"):
        run(trimmed(values, size=12), tmp_path)


@pytest.mark.slow
def test_a_stage_goes_on_from_a_trimmed_one_with_its_tokens(values, tmp_path):
    """The second one is finished alone, with the first one's vocabulary out of its folder."""
    recipe = trimmed(values)
    again = {key: each for key, each in recipe["stages"]["student"].items() if key != "student"}
    recipe["stages"] |= {"again": {**again, "model": "student"}}
    run(recipe, tmp_path, stages="..student")
    run(recipe, tmp_path)
    assert tokens_of(tmp_path / "again") == tokens_of(tmp_path / "student")


@pytest.mark.slow
def test_texts_and_tokens_of_files_are_kept_too(values, tmp_path):
    (tmp_path / "more.txt").write_text("blue and green\n")
    (tmp_path / "list.txt").write_text("yellow\npurple\n")
    files = {"texts": str(tmp_path / "more.txt"), "tokens": str(tmp_path / "list.txt")}
    run(trimmed(values, **files), tmp_path / "run")
    assert {"blue", "green", "yellow", "purple"} <= {*tokens_of(tmp_path / "run" / "student")}
    assert "red" not in tokens_of(tmp_path / "run" / "student")
    (tmp_path / "more.txt").write_text("blue and red\n")
    with pytest.raises(RequestError, match=r"the data changed: .*more\.txt is now 1 rows"):
        run(trimmed(values, **files), tmp_path / "run")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"texts": "nowhere.txt"}, "there is no file nowhere.txt: texts are a line each in a text file"),
        ({"tokens": ["flim"]}, "the tokenizer has no token 'flim'"),
        ({"data": False}, "there are no texts and no tokens to make a vocabulary of"),
        ({"size": 3}, "a vocabulary of 3 tokens is too small"),
        ({"min_count": 0}, "min_count"),
        ({"sise": 3}, "did you mean 'size'"),
    ],
)
def test_what_makes_no_vocabulary_is_told_before_the_first_stage(values, tmp_path, vocabulary, message):
    with pytest.raises(RequestError, match=message):
        run(trimmed(values, **vocabulary), tmp_path / "run")
    assert not (tmp_path / "run" / "teacher" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, 20])
def test_a_general_student_has_a_head_over_the_tokens_that_are_kept(tmp_path, size):
    """Of its teacher it learns the probabilities among these; of a text that is cut otherwise too."""
    (tmp_path / "texts.txt").write_text("the good film was it\nthe bad film was a book of the meal\n" * 30)
    teacher = str(masked_folder(tmp_path / "teacher", layers=2, seed=1))
    student = {"from": teacher, "layers": 1, "vocabulary": {} if size is None else {"size": size, "min_count": 2}}
    values = {
        "data": {"task": str(tmp_path / "texts.txt"), "max_length": 24, "problem_type": "masked_lm"},
        "precision": "fp32",
        "accept_weak_teacher": True,
        "stages": {
            "student": {
                "teacher": teacher,
                "student": student,
                "objective": {"hard_label": {"weight": 2.0}, "response": {"weight": 5.0}},
                "training": TRAINING,
            }
        },
    }
    run(values, tmp_path / "run")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "student")
    kept = tokens_of(tmp_path / "run" / "student")
    assert model.get_output_embeddings().weight.shape[0] == len(kept) < len(load_tokenizer(teacher))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    row = read_report(tmp_path / "run" / "report.json").stage("student")
    assert row.score is not None and row.fidelity is None  # its tokens have other numbers than the teacher's


@pytest.mark.slow
def test_a_student_that_answers_questions_keeps_the_tokens_of_questions_and_texts(tmp_path):
    """With losses on spans, whose places are those of the student's tokens."""
    (tmp_path / "q.json").write_text(json.dumps(test_questions.squad(60, without=4)))
    tiny_model("bert", layers=3, num_labels=2).save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    values = test_questions.questions_recipe(str(tmp_path / "tiny"), str(tmp_path / "q.json"))
    values["stages"]["student"]["student"]["vocabulary"] = {}
    run(values, tmp_path / "run")
    kept = tokens_of(tmp_path / "run" / "student")
    assert {"is", "it", "blue", "film"} <= {*kept} and "superb" not in kept


@pytest.mark.slow
def test_a_bi_encoder_keeps_the_tokens_of_queries_and_texts_and_its_cross_encoder_reads_them(place):
    test_retrieval.run(place, "trimmed", "stages.student.student.vocabulary={size: 40}")
    kept = tokens_of(place / "trimmed" / "student")
    assert len(kept) == 40 and "the" in kept and "[SEP]" in kept
