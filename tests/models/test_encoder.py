"""What is counted as an embedding, for any encoder and whatever is wrapped around it."""

import pytest
from peft import LoraConfig, get_peft_model
from torch import nn

from distilnlp.errors import RequestError
from distilnlp.models.encoder import base_model, count_parameters
from tests.tiny import BACKBONES, VOCAB, tiny_model


def test_embeddings_are_the_tables_of_words_positions_and_token_types():
    """Counted by hand: rows times width of the three tables of BERT."""
    model = tiny_model("bert", hidden=32)
    total, without = count_parameters(model)
    assert total == sum(p.numel() for p in model.parameters())
    assert total - without == (len(VOCAB) + model.config.max_position_embeddings + 2) * 32


@pytest.mark.parametrize("kind", BACKBONES)
def test_no_backbone_hides_its_word_embeddings(kind):
    model = tiny_model(kind)
    total, without = count_parameters(model)
    words = model.get_input_embeddings().weight.numel()
    assert words <= total - without < total
    encoder = sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)
    assert encoder <= without


def test_tied_weights_count_once():
    model = tiny_model("bert")
    before = count_parameters(model)
    model.tied_output = nn.Linear(32, len(VOCAB), bias=False)
    model.tied_output.weight = model.get_input_embeddings().weight
    assert count_parameters(model) == before


def test_adapters_are_counted_and_the_model_inside_is_found():
    model = tiny_model("bert")
    before = count_parameters(model)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    assert base_model(adapted) is adapted.get_base_model()
    assert count_parameters(adapted)[0] > before[0]
    with pytest.raises(RequestError, match="a model of transformers is needed; got Linear"):
        base_model(nn.Linear(2, 2))
