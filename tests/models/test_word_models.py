"""The two models of a table of embeddings: what they compute, and that transformers makes and loads them."""

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig

from distilnlp.errors import RequestError
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.checks import check_sizes
from distilnlp.models.encoder import count_parameters
from distilnlp.models.word_models import BiLstmConfig, StaticConfig
from distilnlp.outputs import Needs

IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
MASK = (IDS != 0).long()


def config_of(kind: str, **changes: object) -> PreTrainedConfig:
    sizes = {"vocab_size": 12, "num_labels": 3, "classifier_size": 5, **changes}
    if kind == "static":
        return StaticConfig(hidden_size=8, special_token_ids=[0, 2, 3], **sizes)
    return BiLstmConfig(**{"embedding_size": 8, "hidden_size": 6, "num_hidden_layers": 2, **sizes})


def model_of(kind: str, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config_of(kind, **changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def left(tensor: Tensor) -> Tensor:
    """The second row with its padding in front."""
    return torch.stack([tensor[0], tensor[1].roll(2)])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["static", "bilstm"])
def test_a_saved_model_is_loaded_by_the_auto_classes(kind, tmp_path):
    model = model_of(kind)
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == kind
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(again(IDS, MASK).logits, model(IDS, MASK).logits)
    body = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(body(IDS, MASK).last_hidden_state, model.base_model(IDS, MASK).last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["static", "bilstm"])
def test_neither_padding_nor_the_side_that_it_is_on_changes_the_answer(kind):
    model = model_of(kind)
    expected = torch.cat([model(IDS[:1]).logits, model(IDS[1:, :3]).logits])
    torch.testing.assert_close(model(IDS, MASK).logits, expected)
    torch.testing.assert_close(model(left(IDS), left(MASK)).logits, expected)
    longer = nn.functional.pad(IDS, (0, 4), value=7), nn.functional.pad(MASK, (0, 4))
    torch.testing.assert_close(model(*longer).logits, expected)


@torch.no_grad()
def test_a_static_model_reads_the_mean_of_the_rows_of_a_text():
    """Special tokens apart, in whatever order; the mean over all tokens of what the body gives is that mean."""
    model = model_of("static")
    rows = model.get_input_embeddings().weight
    means = torch.stack([rows[[5, 6, 7]].mean(dim=0), rows[8]])
    states = model.base_model(IDS, MASK).last_hidden_state
    torch.testing.assert_close(states.sum(dim=1) / MASK.sum(dim=1, keepdim=True), means)
    units = torch.relu(means @ model.classifier.dense.weight.T + model.classifier.dense.bias)
    expected = units @ model.classifier.out_proj.weight.T + model.classifier.out_proj.bias
    torch.testing.assert_close(model(IDS, MASK).logits, expected)
    assert model(torch.tensor([[2, 3]])).logits.isfinite().all()  # a text without a word


@torch.no_grad()
def test_a_bilstm_reads_the_last_state_of_each_direction():
    model = model_of("bilstm", num_hidden_layers=1)
    lstm = model.base_model.layers[0].lstm
    _, (last, _) = lstm(model.get_input_embeddings()(IDS[:1]))  # (directions, 1, hidden / 2)
    found = model.vectors(model.base_model(IDS[:1]).last_hidden_state, MASK[:1].bool())
    torch.testing.assert_close(found, torch.cat([last[0], last[1]], dim=-1))


@pytest.mark.parametrize("kind", ["static", "bilstm"])
def test_labels_give_the_loss_of_every_classifier(kind):
    found = model_of(kind)(IDS, MASK, labels=torch.tensor([0, 2]))
    expected = nn.functional.cross_entropy(found.logits, torch.tensor([0, 2]))
    torch.testing.assert_close(found.loss, expected)


def test_sizes_and_states_are_those_that_losses_ask_for():
    static, lstm = model_of("static"), model_of("bilstm")
    assert (model_info(static).layers, model_info(static).width, model_info(static).heads) == (0, 8, 0)
    assert (model_info(lstm).layers, model_info(lstm).width, model_info(lstm).heads) == (2, 6, 0)
    assert count_parameters(static)[0] - count_parameters(static)[1] == 12 * 8
    for model, layers in ((static, {0}), (lstm, {0, 1, 2})):
        capture = Capture(model, Needs(logits=True, hidden_states=frozenset(layers)))
        states = capture.run({"input_ids": IDS, "attention_mask": MASK}).hidden_states
        assert states.keys() == layers
        assert torch.equal(states[max(layers)], model.base_model(IDS, MASK).last_hidden_state)


def test_only_such_models_may_have_no_layers():
    check_sizes(config_of("static"), "config.json")
    with pytest.raises(RequestError, match="num_hidden_layers 0"):
        check_sizes(AutoConfig.for_model("bert", num_hidden_layers=0), "config.json")
