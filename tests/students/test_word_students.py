"""Students of a table of embeddings: their rows are the teacher's, and what cannot be is refused."""

import pytest
import torch
from transformers import AutoModelForTokenClassification

from distilnlp.errors import RequestError
from distilnlp.models.sentence_encoder import SentenceEncoder
from distilnlp.students import Vocabulary, build_student, trim_vocabulary
from distilnlp.students.word_students import FREQUENT, token_rows
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.tiny import VOCAB, byte_tokenizer, tiny_model, tiny_tokenizer

TEXTS = ["the good film", "the bad film", "the film was very very dull"]
LABELS = ("no", "maybe", "yes")


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
def test_a_row_is_what_the_teacher_says_of_its_token_alone(kind):
    teacher, vocabulary = tiny_model(kind), trim_vocabulary(tiny_tokenizer(), TEXTS)
    rows = token_rows(teacher, vocabulary)
    film = tiny_tokenizer()("film")["input_ids"]
    states = teacher.base_model(torch.tensor([film])).last_hidden_state
    place = vocabulary.tokenizer.convert_tokens_to_ids("film")
    torch.testing.assert_close(rows[place], states[0, 1].double())
    assert rows.shape == (len(vocabulary), 32)


@torch.no_grad()
def test_the_rows_of_a_static_student_are_main_directions_weighed_by_how_rare_they_are():
    teacher, vocabulary = tiny_model("bert", label_names=LABELS), trim_vocabulary(tiny_tokenizer(), TEXTS)
    student = build_student(teacher, architecture="static", vocabulary=vocabulary, config={"hidden_size": 8})
    found = student.get_input_embeddings().weight.double()
    states = token_rows(teacher, vocabulary)
    held = states - states.mean(dim=0)
    expected = torch.linalg.svd(held)[2][:8]
    shares = torch.tensor(vocabulary.counts).double() / sum(vocabulary.counts)
    weights = FREQUENT / (FREQUENT + shares)
    products = (held @ expected.T @ expected @ held.T) * weights[:, None] * weights  # whatever the sign of a direction
    scale = (found @ found.T).diagonal().sum() / products.diagonal().sum()
    torch.testing.assert_close(found @ found.T, products * scale, atol=1e-5, rtol=1e-4)
    assert student.config.id2label == dict(enumerate(LABELS)) and not student.training


@torch.no_grad()
def test_a_static_encoder_of_its_teachers_width_has_the_teachers_directions():
    teacher, vocabulary = tiny_encoder(modules=PLAIN), trim_vocabulary(tiny_tokenizer(), TEXTS)
    student = build_student(teacher, architecture="static", vocabulary=vocabulary)
    assert isinstance(student, SentenceEncoder) and len(student.dense) == 0
    rows, states = student.get_input_embeddings().weight.double(), token_rows(teacher, vocabulary)
    assert torch.nn.functional.cosine_similarity(rows, states).min() > 1 - 1e-6
    narrow = build_student(teacher, architecture="static", vocabulary=vocabulary, config={"hidden_size": 20})
    back = narrow.dense[0].linear.weight.double() @ narrow.get_input_embeddings().weight.double().T
    assert torch.nn.functional.cosine_similarity(back.T, states).mean() > 0.9


@torch.no_grad()
def test_random_rows_and_other_seeds():
    teacher, vocabulary = tiny_model("bert"), Vocabulary.whole_of(tiny_tokenizer())

    def weights(**settings):
        made = build_student(teacher, architecture="bilstm", vocabulary=vocabulary, **settings)
        assert made.config.vocab_size == len(VOCAB)
        return made.state_dict()

    table, lstm = "bilstm.embedding.weight", "bilstm.layers.0.lstm.weight_hh_l0"
    assert torch.equal(weights()[table], weights(seed=1)[table])
    assert not torch.equal(weights()[lstm], weights(seed=1)[lstm])
    assert not torch.equal(weights()[table], weights(init="random")[table])
    assert "bilstm.layers.1.lstm.weight_hh_l0" in weights(layers=2)


def test_the_tokens_around_a_text_are_those_of_the_tokenizer():
    """Which has no [CLS] and no [SEP], but <s> and </s>."""
    teacher = tiny_model("roberta", vocab_size=290, pad_token_id=0, max_position_embeddings=80)
    vocabulary = trim_vocabulary(byte_tokenizer(), ["the film"])
    student = build_student(teacher, architecture="static", vocabulary=vocabulary)
    assert [vocabulary.tokenizer.convert_ids_to_tokens(i) for i in student.config.special_token_ids] == [
        "<pad>",
        "<s>",
        "</s>",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "static"}, "a static student has a row for each token: give vocabulary="),
        ({"architecture": "bilstm", "layers": 0, "vocabulary": True}, "a bilstm student of 0 layers cannot be"),
        ({"architecture": "static", "layer_map": "last", "vocabulary": True}, "has none of the teacher's layers"),
        ({"architecture": "static", "dimension": 8, "vocabulary": True}, "dimension is for sentence encoders"),
        (
            {"architecture": "bilstm", "config": {"embedding_size": 33}, "vocabulary": True},
            "embedding_size is 33: 1 to",
        ),
        (
            {"architecture": "static", "config": {"classifier_dropout": 1}, "vocabulary": True},
            "a share from 0 below 1",
        ),
        ({"architecture": "statik"}, "did you mean 'static'"),
    ],
)
def test_what_cannot_be_made_is_refused(settings, message):
    if settings.get("vocabulary"):
        settings = {**settings, "vocabulary": Vocabulary.whole_of(tiny_tokenizer())}
    with pytest.raises(RequestError, match=message):
        build_student(tiny_model("bert"), **settings)


def test_a_task_that_is_answered_by_token_is_refused():
    teacher = AutoModelForTokenClassification.from_config(tiny_model("bert").config)
    with pytest.raises(RequestError, match="token_classification is answered by token"):
        build_student(teacher, architecture="static", vocabulary=Vocabulary.whole_of(tiny_tokenizer()))
    with pytest.raises(RequestError, match="for vectors take architecture static"):
        build_student(tiny_encoder(), architecture="bilstm", vocabulary=Vocabulary.whole_of(tiny_tokenizer()))
