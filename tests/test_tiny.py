"""The tests' own models and data do what the other tests take for granted."""

import pytest
import torch

from tests.tiny import BACKBONES, VOCAB, tiny_model, tiny_tokenizer, toy_dataset


def test_the_tokenizer_knows_its_words() -> None:
    tokenizer = tiny_tokenizer()
    assert len(tokenizer) == len(VOCAB) == len(set(VOCAB))
    assert tokenizer("the good film")["input_ids"] == [
        VOCAB.index(w) for w in ("[CLS]", "the", "good", "film", "[SEP]")
    ]
    assert tokenizer.pad_token_id == 0


@pytest.mark.parametrize("kind", BACKBONES)
def test_models_answer_and_repeat(kind: str) -> None:
    """Padding must not reach the logits: the pad ids of config and tokenizer agree."""
    batch = tiny_tokenizer()(
        ["the good film", "we saw a very dull book and it was bad"], padding=True, return_tensors="pt"
    )
    batch.pop("token_type_ids")
    state = torch.random.get_rng_state()
    model, again, other = tiny_model(kind), tiny_model(kind), tiny_model(kind, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    with torch.no_grad():
        logits = model(**batch).logits
        alone = model(**{key: value[:1, :5] for key, value in batch.items()}).logits
        assert logits.shape == (2, 3)
        assert logits.isfinite().all()
        torch.testing.assert_close(logits[:1], alone, atol=1e-5, rtol=1e-4)
        assert torch.equal(logits, again(**batch).logits)
        assert not torch.equal(logits, other(**batch).logits)


def test_label_names_and_problem_type_are_kept() -> None:
    config = tiny_model("bert", label_names=["no", "yes"], problem_type="multi_label_classification").config
    assert config.id2label == {0: "no", 1: "yes"}
    assert config.problem_type == "multi_label_classification"


def test_toy_dataset_is_seeded_and_typed() -> None:
    data = toy_dataset(30, seed=1, pair=True)
    assert data.column_names == ["text", "text_pair", "label"]
    assert data.features["label"].names == ["class_0", "class_1", "class_2"]
    assert data[:] == toy_dataset(30, seed=1, pair=True)[:] != toy_dataset(30, seed=2, pair=True)[:]
    assert set(data["label"]) == {0, 1, 2}
    assert tiny_tokenizer().unk_token_id not in {
        i for ids in tiny_tokenizer()(list(data["text"]))["input_ids"] for i in ids
    }
