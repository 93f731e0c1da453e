"""Folders with a model or a run, as training leaves them: what the tests of `push` publish."""

from pathlib import Path

from tests.tiny import tiny_model, tiny_tokenizer

__all__ = ["CARD", "NAMES", "PUBLISHED", "RECORDS", "REPO", "TOKEN", "make_model", "make_run"]

TOKEN = "hf_" + "aB3dE6gH9j" * 3 + "kLmN"
REPO = "ada/film"
NAMES = ("bad", "fine", "good")
CARD = "---\nlibrary_name: transformers\n---\n# Film\n"
PUBLISHED = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
RECORDS = {"README.md", "recipe.yaml", "report.json"}


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
    (folder / "report.json").write_text("{}")
    (folder / "README.md").write_text(CARD)
    (folder / "environment.json").write_text("{}")
    return folder
