"""The folders of losses are the kinds of knowledge, and stand side by side."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOSSES = ROOT / "distilnlp" / "losses"
KINDS = ["attention", "feature", "layer_matching", "relation", "response"]
MODULES = [path for kind in KINDS for path in sorted((LOSSES / kind).glob("*.py")) if path.name != "__init__.py"]
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def test_every_folder_is_a_kind_of_knowledge() -> None:
    assert sorted(path.parent.name for path in LOSSES.glob("*/__init__.py")) == KINDS


@every_module
def test_a_module_has_its_tests_under_the_same_path(path: Path) -> None:
    assert (ROOT / "tests" / "losses" / path.parent.name / f"test_{path.name}").exists()


@every_module
def test_a_kind_of_knowledge_borrows_from_no_other_but_how_logits_are_read(path: Path) -> None:
    """What two of them share belongs beside the folders: then a kind can be read, and left out, alone."""
    others = tuple(f"distilnlp.losses.{kind}" for kind in KINDS if kind != path.parent.name)
    imported = [
        node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
    ]
    assert {each for each in imported if each.startswith(others)} <= {"distilnlp.losses.response.base"}
