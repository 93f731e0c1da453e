"""Nothing outside of `distilnlp/problems/` compares a problem by its name: the object has what differs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from distilnlp.problems import list_problems

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for path in (ROOT / "distilnlp").rglob("*.py") if "problems" not in path.parts)


def names(node: ast.AST) -> Iterator[str]:
    """The names of problems among the constants in a node."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and part.value in list_problems():
            yield str(part.value)


def comparisons(source: str) -> list[str]:
    """Every place that decides by a problem's name: a comparison, a match, a look-up, a class asked for."""
    tree = ast.parse(source)
    constants = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(names(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        decides = isinstance(node, ast.Compare | ast.MatchValue | ast.Dict | ast.Subscript)
        asks = isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance" and _asks_for_a_problem(node)
        by_constant = isinstance(node, ast.Compare) and constants & {
            part.id for part in ast.walk(node) if isinstance(part, ast.Name)
        }
        by_attribute = isinstance(node, ast.Compare) and any(
            ast.unparse(side).endswith(("problem_type", "problem.name")) for side in (node.left, *node.comparators)
        )
        if (decides and any(names(node))) or asks or by_constant or by_attribute:
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def _asks_for_a_problem(call: ast.Call) -> bool:
    kinds = {"Classification", "Regression", "MultiLabel", "TokenClassification"}
    return bool(kinds & {part.id for part in ast.walk(call.args[1]) if isinstance(part, ast.Name)})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_outside_decides_by_the_name_of_a_problem(path: Path) -> None:
    assert comparisons(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "if kind == 'regression': pass",
        "x = 1 if config.problem_type != other else 2",
        "if problem.name == other: pass",
        "if kind in ('regression', 'multi_label_classification'): pass",
        "answer = {'regression': 1}.get(kind)",
        "match kind:\n    case 'regression': pass",
        "REGRESSION = 'regression'\nif kind == REGRESSION: pass",
        "if isinstance(problem, Regression): pass",
    ],
)
def test_a_decision_by_name_is_seen_however_it_is_written(source: str) -> None:
    assert comparisons(source)


def test_to_name_a_problem_is_no_decision() -> None:
    assert not comparisons("problem = get_problem('regression')\nif problem.named_labels: pass")
