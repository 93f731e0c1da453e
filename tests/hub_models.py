"""Folders with a model or a run, as training leaves them, and processes on line: what the tests of `push` need."""

import os
import subprocess
import sys
from pathlib import Path

from distilnlp.report.schema import Report, StageResult, to_json
from tests.tiny import tiny_model, tiny_tokenizer

__all__ = [
    "CARD",
    "LOAD",
    "NAMES",
    "PUBLISHED",
    "RECORDS",
    "REPO",
    "TEXTS",
    "TOKEN",
    "make_model",
    "make_run",
    "start",
]

ROOT = Path(__file__).parents[1]
TOKEN = "hf_" + "aB3dE6gH9j" * 3 + "kLmN"
REPO = "ada/film"
NAMES = ("bad", "fine", "good")
CARD = "---\nlibrary_name: transformers\n---\n# Film\n"
PUBLISHED = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
RECORDS = {"README.md", "recipe.yaml", "report.json"}
TEXTS = ["the good film", "a very dull book"]
LOAD = """
import json, sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer
repo_id, texts = json.loads(sys.stdin.readline())
model = AutoModelForSequenceClassification.from_pretrained(repo_id)
batch = AutoTokenizer.from_pretrained(repo_id)(texts, padding=True, return_tensors="pt")
names = [model.config.id2label[index] for index in range(model.config.num_labels)]
print(json.dumps({"logits": model(**batch).logits.tolist(), "names": names}))
"""


def make_model(folder: Path, seed: int = 0) -> Path:
    """A model of 2.6 MB (more than the buffers of a connection), its tokenizer, and much that must stay at home."""
    tiny_model("bert", label_names=NAMES, seed=seed, max_position_embeddings=20_000).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    for name in ("training_args.bin", "optimizer.pt", "trainer_state.json", "metrics.json", ".env"):
        (folder / name).write_bytes(b"private")
    (folder / "checkpoint-5").mkdir()
    (folder / "checkpoint-5" / "config.json").write_text("{}")
    return folder


def make_run(folder: Path) -> Path:
    """A finished run of two stages."""
    make_model(folder / "teacher", seed=1)
    make_model(folder / "student", seed=2)
    (folder / "recipe.yaml").write_text("stages:\n  teacher: {}\n  student: {}\n")
    stages = [StageResult(stage=name) for name in ("teacher", "student")]
    (folder / "report.json").write_text(to_json(Report(stages=stages)))
    (folder / "README.md").write_text(CARD)
    (folder / "environment.json").write_text("{}")
    return folder


def start(script: str, home: Path, **env: str) -> subprocess.Popen[str]:
    """A process on line with a home of its own and none of our settings of the Hub; stderr goes to ``home/stderr``."""
    home.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    # Without the switch the client never asks the Hub and uploads in a way of its own (xet) that needs another server.
    ours = {"HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    with (home / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env={**clean, **ours, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
