"""`trainer.push_to_hub()` and the card that it writes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from distilnlp.errors import RequestError
from distilnlp.parts import EarlyExits
from tests.hub_models import LOAD, REPO, TEXTS, TOKEN, start
from tests.hub_server import hub_server
from tests.runs import NAMES, arguments, dataset, make_trainer
from tests.tiny import tiny_tokenizer

# In a process of its own, which is on line (see tests/hub/test_push.py).
PUSH = """
import sys
from distilnlp.losses import HardLabel
from tests.runs import dataset, make_trainer, student_model
folder, repo_id, token = sys.stdin.read().split()
trainer = make_trainer(
    folder,
    model=student_model(hidden=16),
    eval_dataset=dataset(20, 1),
    args={"hub_model_id": repo_id, "hub_token": token, "hub_private_repo": True, "save_strategy": "epoch"},
)
trainer.train()
print(trainer.push_to_hub(dataset="films", license="apache-2.0"))
"""


@pytest.mark.slow
def test_what_a_trainer_pushes_loads_and_predicts_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "film"
    with hub_server() as server:
        server.users[TOKEN] = "ada"
        env = {"HF_ENDPOINT": server.url}
        with start(PUSH, tmp_path / "pusher", **env) as pusher:
            said, _ = pusher.communicate(f"{folder} {REPO} {TOKEN}")
        log = (tmp_path / "pusher" / "stderr").read_text()
        assert said.splitlines()[-1:] == [f"{server.url}/{REPO}"], log
        with start(LOAD, tmp_path / "loader", HF_TOKEN=TOKEN, **env) as loader:
            loaded = json.loads(loader.communicate(json.dumps([REPO, TEXTS]))[0])
    repo = server.repos[REPO]
    assert repo.private
    expected = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(repo.head.files) == {".gitattributes", *expected}

    local = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = local(**tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")).logits
    torch.testing.assert_close(torch.tensor(loaded["logits"]), logits, atol=0, rtol=0)
    assert tuple(loaded["names"]) == NAMES

    card = repo.head.files["README.md"].decode()
    assert f'name = "{REPO}"' in card
    assert str(tmp_path) not in card
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert TOKEN not in said + log
    assert not [content for content in [*written, *repo.head.files.values()] if TOKEN.encode() in content]


def front_and_text(card: str) -> tuple[dict[str, object], str]:
    _, front, text = card.split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_tells_what_the_trainer_knows_and_nothing_else(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "film", eval_dataset=dataset(20, 1), args={"max_steps": 1})
    trainer.train()
    accuracy = trainer.evaluate()["eval_accuracy"]

    trainer.create_model_card()
    front, text = front_and_text((tmp_path / "film" / "README.md").read_text())
    assert f"accuracy {accuracy:.4f}" in text
    assert "`bad`, `good`, `mixed`" in text
    assert "`hidden_state` (weight 1.0" in text
    assert "`BertForSequenceClassification`" in text  # the teacher, which has no other name
    assert "model-index" not in front  # nobody said what data it was evaluated on
    assert "license" not in front
    assert "Start weights" not in text  # the student has no name, and its teacher's is not its own
    assert str(tmp_path) not in text

    trainer.create_model_card(dataset="films", dataset_tags="ada/films", license="mit", finetuned_from="ada/tiny")
    front, text = front_and_text((tmp_path / "film" / "README.md").read_text())
    assert (front["license"], front["datasets"]) == ("mit", ["ada/films"])
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == accuracy  # type: ignore[index]


def test_the_card_tells_of_the_exits_that_a_training_has_left(tmp_path: Path) -> None:
    changes = {"teacher": None, "objective": None, "args": {"max_steps": 1}}
    trainer = make_trainer(tmp_path / "film", parts=[EarlyExits(weight=0.5)], **changes)
    trainer.create_model_card()
    assert "Early exits" not in (tmp_path / "film" / "README.md").read_text()  # there are none yet
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    text = (tmp_path / "film" / "README.md").read_text()
    assert "## Early exits" in text and "- Parts of its training: `early_exits` (weight 0.5)" in text
    (code,) = [block for block in re.findall("```python\n(.*?)```", text, re.DOTALL) if "exit_threshold" in block]
    found: dict[str, Any] = {}
    exec(code.replace('"film"', repr(str(tmp_path / "film"))), found)
    assert found["answers"][0].label in ("bad", "good", "mixed")

    make_trainer(tmp_path / "plain", **changes).create_model_card()
    assert "Early exits" not in (tmp_path / "plain" / "README.md").read_text()


def test_without_evaluation_data_the_card_has_no_score(tmp_path: Path) -> None:
    make_trainer(tmp_path / "film", teacher=None, objective=None).create_model_card(dataset="films")
    front, text = front_and_text((tmp_path / "film" / "README.md").read_text())
    assert "model-index" not in front
    assert "accuracy" not in text
    assert "taught" not in text


def test_each_evaluation_set_has_its_scores(tmp_path: Path) -> None:
    sets = {"matched": dataset(20, 1), "mismatched": dataset(20, 2)}
    trainer = make_trainer(tmp_path / "film", eval_dataset=sets)
    trainer.create_model_card(dataset="films")
    text = (tmp_path / "film" / "README.md").read_text()
    assert "On the matched set: accuracy" in text
    assert "On the mismatched set: accuracy" in text


def test_what_would_be_ignored_or_would_leak_is_refused(tmp_path: Path) -> None:
    """With ``push_to_hub=True`` Trainer publishes a pickle of its arguments, of which the token is one."""
    with pytest.raises(RequestError, match="leave it out, and call"):
        make_trainer(tmp_path, args={"push_to_hub": True})
    with pytest.raises(RequestError, match="leave out blocking and revision"):
        make_trainer(tmp_path).push_to_hub(revision="dev")
    assert arguments(tmp_path).hub_token is None
