"""The class of a model with a head for a kind of task, and where its output has the logits."""

import pytest
import torch
from transformers import BertConfig
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from distilnlp.models.heads import head_logits, model_class, model_from_config, name_architecture
from distilnlp.models.sentence_encoder import SENTENCE
from distilnlp.models.sentence_modules import SentenceModules
from distilnlp.problems import get_problem, list_problems, problem_of_config
from tests.tiny import tiny_model

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}


@pytest.mark.parametrize("name", list_problems())
def test_a_model_made_of_a_config_is_of_the_kind_that_it_names(name: str) -> None:
    problem = get_problem(name)
    vectors = {SENTENCE: SentenceModules(("mean",)).to_dict()} if problem.vectors else {}
    config = BertConfig(**SIZES, **vectors, **problem.config_settings(["a", "b", "c"]))
    made = model_from_config(config)
    assert problem_of_config(made.config) == problem
    assert type(made) is type(model_class(problem).from_config(config))


def test_a_model_names_its_class_in_its_config_and_keeps_a_name_that_is_there() -> None:
    model = tiny_model("bert")
    model.config.architectures = None
    name_architecture(model)
    assert model.config.architectures == ["BertForSequenceClassification"]
    model.config.architectures = ["Other"]
    name_architecture(model)
    assert model.config.architectures == ["Other"]


def test_start_and_end_of_an_answer_stand_side_by_side() -> None:
    start, end = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    output = QuestionAnsweringModelOutput(start_logits=start, end_logits=end)
    assert head_logits(output).tolist() == [[[1.0, 3.0], [2.0, 4.0]]]
