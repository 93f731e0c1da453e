"""One model with a head for each of several tasks: joined, told by its config, taken apart again."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier
from distilnlp.models.predictor import Predictor
from distilnlp.models.task_heads import join_tasks, split_task, tasks_of
from distilnlp.problems import problem_of_config
from distilnlp.problems.several_tasks import TASK_ID, TASKS
from distilnlp.teachers import load_teacher
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

IDS = torch.tensor([[2, 7, 8, 3], [2, 9, 10, 3]])


def models(kind="bert"):
    """Three kinds of task on one body."""
    made = {
        "topic": tiny_model(kind, label_names=["news", "sport", "art"], seed=1),
        "tags": tiny_model(kind, label_names=["long", "old"], problem_type="multi_label_classification", seed=2),
        "stars": tiny_model(kind, num_labels=1, problem_type="regression", seed=3),
    }
    body = {k: v for k, v in made["topic"].state_dict().items() if k.startswith(made["topic"].base_model_prefix)}
    for each in made.values():
        each.load_state_dict(body, strict=False)
    return made


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_joined_model_gives_the_logits_of_the_first_and_of_all_whose_head_is_one_layer(kind):
    parts = models(kind)
    joined = join_tasks(parts)(input_ids=IDS).logits
    assert joined.shape == (2, 6)
    torch.testing.assert_close(joined[:, :3], parts["topic"](input_ids=IDS).logits)
    if kind == "bert":  # whose head has nothing before its last layer
        torch.testing.assert_close(joined[:, 3:5], parts["tags"](input_ids=IDS).logits)


def test_what_is_split_is_the_plain_model_that_was_joined(tmp_path):
    parts = models()
    before = {name: {k: v.clone() for k, v in each.state_dict().items()} for name, each in parts.items()}
    joined = join_tasks(parts)
    joined.save_pretrained(tmp_path)
    loaded = load_classifier(tmp_path, require_head=True)
    for name, part in parts.items():
        alone = split_task(loaded, name)
        torch.testing.assert_close(alone(input_ids=IDS).logits, part(input_ids=IDS).logits)
        assert type(problem_of_config(alone.config)) is type(problem_of_config(part.config))
        assert alone.config.id2label == part.config.id2label
        assert TASKS not in alone.config.to_dict()
        assert all(torch.equal(each, before[name][key]) for key, each in part.state_dict().items())
    weights = dict(split_task(joined, "topic").named_parameters())
    assert all(each.data_ptr() != weights[key].data_ptr() for key, each in joined.named_parameters())


def test_the_config_says_which_logits_are_whose():
    tasks = tasks_of(join_tasks(models()).config)
    assert [(each.name, each.start, each.stop) for each in tasks.tasks] == [
        ("topic", 0, 3),
        ("tags", 3, 5),
        ("stars", 5, 6),
    ]
    batch = {TASK_ID: torch.tensor([1, 1])}
    assert tasks.of_batch(batch).several_labels
    assert tasks.scored(torch.arange(12).reshape(2, 6), batch)[0].tolist() == [[3, 4], [9, 10]]
    assert tasks_of(tiny_model("bert").config) is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"topic": tiny_model("bert")}, "two or more; got topic"),
        ({"a b": tiny_model("bert"), "c": tiny_model("bert")}, "'a b' cannot be called so"),
        ({"a": tiny_model("bert"), "b": tiny_model("bert", hidden=16)}, "not of one architecture"),
        ({"a": tiny_model("bert"), "b": tiny_model("bert", layers=3)}, "not of one architecture"),
        ({"a": tiny_model("bert"), "b": tiny_model("distilbert")}, "not of one architecture"),
        (
            {"a": tiny_model("bert"), "b": tiny_model("bert", problem_type="token_classification")},
            "the task b is token_classification",
        ),
    ],
)
def test_models_that_cannot_share_a_body_are_refused(parts, message):
    with pytest.raises(RequestError, match=message):
        join_tasks(parts)


def test_a_task_that_is_not_there_is_refused():
    with pytest.raises(RequestError, match="unknown task 'topics': did you mean 'topic'"):
        split_task(join_tasks(models()), "topics")
    with pytest.raises(RequestError, match="of one task and not of several"):
        split_task(tiny_model("bert"), "topic")


@pytest.mark.parametrize("said", [None, [], [{"name": "a"}], [{"name": "a", "problem_type": "regression"}], "a"])
def test_a_config_that_tells_its_tasks_wrongly_is_refused(said):
    config = join_tasks(models()).config
    config.distilnlp_tasks = said
    with pytest.raises(RequestError, match="in the model's config"):
        problem_of_config(config)


def test_the_whole_is_neither_asked_nor_teaches(tmp_path):
    join_tasks(models()).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    for use in (Predictor.load, load_teacher):
        with pytest.raises(RequestError, match="holds the heads of several tasks, topic, tags, stars: give the model"):
            use(tmp_path)
