"""Imports go one way, the network has three doors, and nothing heavy loads before it is needed."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

# What each part may import of ours. `errors` is a leaf that everybody may import, and a part may import itself.
# A dotted entry allows that one module of a part and not the rest of it.
ALLOWED = {
    "errors": {"hub_token"},  # what an error says is shown and logged
    "typed": set(),
    "citation": set(),  # the command line reads the losses' sources, and may load no torch
    "whole_files": set(),
    "checksums": {"whole_files"},
    "hub_token": set(),
    "yaml_text": set(),
    "progress": set(),
    "layer_map": set(),
    "label_names": set(),
    "cut_texts": set(),
    "onnx_file": set(),
    "openvino_file": set(),
    "exported_file": {"onnx_file", "openvino_file"},
    "problems": {"label_names", "cut_texts"},
    "outputs": {"problems"},
    "registry": set(),
    "part": {"outputs", "registry", "losses"},
    "parts": {"typed", "layer_map", "onnx_file", "problems", "outputs", "part", "losses", "models", "teachers"},
    "recipe": {"hub_token", "yaml_text", "problems"},
    "losses": {"typed", "citation", "label_names", "problems", "outputs", "layer_map"},
    "data": {"progress", "typed", "cut_texts", "label_names", "problems"},
    "models": {"progress", "typed", "cut_texts", "label_names", "problems", "outputs"}
    | {"exported_file", "onnx_file", "openvino_file"},
    "export": {"whole_files", "exported_file", "onnx_file", "openvino_file", "models"},
    "students": {"typed", "label_names", "problems", "layer_map", "models"},
    "teachers": {"progress", "typed", "whole_files", "checksums", "problems", "outputs", "models"}
    | {"part", "registry", "losses"},  # peers learn by losses of their own
    "analysis": {"layer_map"},
    "report": {"hub_token", "yaml_text", "whole_files", "exported_file", "problems", "models"}
    | {"recipe.names", "recipe.seeds"},  # what the stages of a recipe are called
    "html": {"whole_files", "yaml_text", "problems", "analysis", "report"},
    "hub": {"hub_token", "yaml_text", "exported_file", "recipe.names", "recipe.seeds", "report"},
    "training": {
        "label_names",
        "whole_files",
        "checksums",
        "problems",
        "outputs",
        "part",
        "losses",
        "models",
        "teachers",
        "data",
        "report",
        "hub",
    },
    "run": {
        "progress",
        "yaml_text",
        "label_names",
        "whole_files",
        "checksums",
        "problems",
        "outputs",
        "losses",
        "data",
        "models",
        "students",
        "teachers",
        "training",
    }
    | {"report", "analysis", "html", "hub", "recipe", "registry", "part", "parts", "onnx_file", "export"},
    "api": {"typed", "whole_files", "models", "data", "report", "hub", "recipe", "run"},
    "cli": {
        "citation",
        "yaml_text",
        "hub_token",
        "whole_files",
        "problems",
        "data",
        "recipe",
        "report",
        "html",
        "hub",
        "run",
        "__version__",
    },
}
# `distilnlp/__init__.py` and `__main__.py` only pass names on.
FACADE = {"distilnlp", "__main__"}

# What can open a connection, and the three modules that may import it.
NETWORK_MODULES = {"aiohttp", "ftplib", "http.client", "httpx", "httpx2", "huggingface_hub", "requests", "socket"}
NETWORK_MODULES |= {"urllib.request", "urllib3"}
DOORS = {"distilnlp.data.hub", "distilnlp.models.loading", "distilnlp.hub.push"}
# Names of huggingface_hub that open nothing, and so may be used anywhere.
HARMLESS = {
    "EvalResult",
    "EvalResultEntry",
    "eval_result_entries_to_yaml",
    "HFValidationError",
    "ModelCardData",
    "StrictDataclassError",
    "enable_progress_bars",
}
HARMLESS |= {"validate_repo_id"}
# Functions that reach the Hub through another library, and who may call them.
NETWORK_CALLS = {"from_pretrained": {"distilnlp.models.loading"}, "load_dataset": {"distilnlp.data.hub"}}

HEAVY = {
    "accelerate",
    "datasets",
    "evaluate",
    "nncf",
    "onnx",
    "onnxruntime",
    "openvino",
    "optuna",
    "pandas",
    "peft",
    "pyarrow",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
}

ROOT = Path(__file__).resolve().parents[1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / "distilnlp").rglob("*.py"))}


def imported(source: str, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """Every name that a file imports, anywhere in it, in full and with the line: ``from a import b`` gives ``a.b``."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from ((".".join([*base, alias.name]), node.lineno) for alias in node.names)


def within(target: str, names: Iterable[str]) -> bool:
    """Whether a dotted name is one of these, or inside one of them."""
    return any(target == name or target.startswith(f"{name}.") for name in names)


def part(module: str) -> str:
    """``distilnlp.losses.base`` -> ``losses``."""
    return module.split(".")[1] if "." in module else module


def forbidden_edges(module: str, source: str, is_package: bool = False) -> list[str]:
    """The imports of a file that the table does not allow."""
    here = part(module)
    allowed = {here, "errors", *ALLOWED.get(here, set())}
    return [
        f"{module}:{line} imports {target}: {here} may import {', '.join(sorted(allowed))}"
        for target, line in imported(source, module, is_package)
        if here not in FACADE and within(target, ["distilnlp"])
        if not within(target.removeprefix("distilnlp."), allowed)
    ]


def network_uses(module: str, source: str, is_package: bool = False) -> list[str]:
    """The places in a file that could open a connection and may not."""
    wrong = [
        f"{module}:{line} imports {target}: the network belongs in {', '.join(sorted(DOORS))}"
        for target, line in imported(source, module, is_package)
        if module not in DOORS and within(target, NETWORK_MODULES)
        if not (target.startswith("huggingface_hub.") and target.rpartition(".")[2] in HARMLESS)
    ]
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for node in calls:
        name = ast.unparse(node.func).rpartition(".")[2]
        if module not in NETWORK_CALLS.get(name, {module}):
            wrong.append(f"{module}:{node.lineno} calls {name}: only {', '.join(NETWORK_CALLS[name])} may")
    return wrong


def all_files(check: Callable[[str, str, bool], list[str]]) -> list[str]:
    found = (check(name, path.read_text(), path.name == "__init__.py") for name, path in SOURCES.items())
    return [line for lines in found for line in lines]


def test_the_table_names_the_parts_that_exist_and_goes_one_way():
    """A row for a part that is gone, or a part without a row, would let an edge pass unseen."""
    assert set(ALLOWED) == {part(name) for name in SOURCES} - FACADE
    parts_only = {row: {target.split(".")[0] for target in targets} for row, targets in ALLOWED.items()}
    graphlib.TopologicalSorter(parts_only).prepare()  # raises CycleError


def test_imports_go_one_way():
    assert all_files(forbidden_edges) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("distilnlp.losses.logits", "from distilnlp.training.trainer import DistillationTrainer"),
        ("distilnlp.losses.logits", "from distilnlp import trainer"),
        ("distilnlp.losses.logits", "from distilnlp import DistillationTrainer"),
        ("distilnlp.losses.logits", "import distilnlp"),
        ("distilnlp.losses.logits", "import distilnlp.models.capture"),
        ("distilnlp.losses.logits", "from ..capture import Capture"),
        ("distilnlp.losses.logits", "from .. import capture"),
        ("distilnlp.losses.logits", "def late():\n    from distilnlp.models.capture import Capture"),
        ("distilnlp.report.card", "from distilnlp.training.trainer import DistillationTrainer"),
        ("distilnlp.problems.base", "from distilnlp.outputs import Outputs"),
        ("distilnlp.outputs", "from distilnlp.layer_map import LayerMap"),
    ],
)
def test_a_forbidden_import_is_seen_however_it_is_written(module, source):
    assert len(forbidden_edges(module, source)) == 1


def test_allowed_imports_pass():
    assert not forbidden_edges(
        "distilnlp.losses.logits", "from distilnlp.losses.base import Loss\nfrom .base import Loss"
    )
    assert not forbidden_edges("distilnlp.losses", "from .base import Loss", is_package=True)
    assert not forbidden_edges(
        "distilnlp.training.trainer", "from distilnlp.report.metrics import TaskMetric\nimport torch"
    )
    assert not forbidden_edges("distilnlp.data.load", "from distilnlp.errors import RequestError")


@pytest.mark.slow
def test_the_network_is_used_in_three_places_only():
    assert all_files(network_uses) == []


@pytest.mark.parametrize(
    "source",
    [
        "import requests",
        "import huggingface_hub.utils",
        "from huggingface_hub import snapshot_download",
        "from urllib import request",
        "def late():\n    import httpx2",
        "AutoModel.from_pretrained('bert-base-uncased')",
        "datasets.load_dataset('nyu-mll/glue', 'mrpc')",
    ],
)
def test_a_use_of_the_network_is_seen_however_it_is_written(source):
    assert len(network_uses("distilnlp.losses.logits", source)) == 1


def test_a_harmless_name_passes():
    assert not network_uses("distilnlp.losses.logits", "from urllib.parse import urlparse")
    assert not network_uses("distilnlp.losses.logits", "from huggingface_hub import ModelCardData")


@pytest.mark.parametrize(
    "command",
    [
        *("", "--help", "distill --help", "search --help", "run --help", "validate --help"),
        *("tasks", "losses", "losses soft_target", "recipes", "run mrpc --set data.tsak=x", "validate nothing.yaml"),
    ],
)
def test_nothing_heavy_loads_before_it_is_needed(command):
    """`--help` answers in under half a second only while the large libraries stay out."""
    code = f"""
import sys
import distilnlp
if {bool(command)}:
    from distilnlp.cli import main
    sys.argv[1:] = {command.split()}
    main()
print(*sorted({{name.split(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "distilnlp" in loaded
    assert not loaded & HEAVY
