"""The model card of one stage of a run: only what the run's report holds, no number besides."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from distilnlp.errors import unknown
from distilnlp.exported_file import ONNX, file_format_of, files_of
from distilnlp.recipe.seeds import stages_of_seeds
from distilnlp.report.card_data import (
    card_data,
    has_own_architecture,
    is_hub_id,
    learned_with,
    part,
    publishable,
    recipe_stage,
    recorded_columns,
    redact,
    start_weights,
    taught_by,
    title,
)
from distilnlp.report.compare import exported_lines, footnotes, markdown_table, relative_lines, verdicts
from distilnlp.report.drawing import draw_graph
from distilnlp.report.escape import markdown, one_line, visible
from distilnlp.report.schema import ExportedFile, Privacy, Report, StageResult
from distilnlp.yaml_text import write_yaml

__all__ = ["render_card"]

ROLES = {
    "teacher": "It was fine-tuned on labels and taught the students of its run.",
    "control": "It was trained on labels only, without a teacher, to be compared with the distilled student.",
    "student": "It was distilled: trained to answer as its teacher does.",
}


def render_card(report: Report, *, stage: str, repo_id: str | None = None) -> str:
    """The model card (``README.md``) of a stage: front matter for the Hub, then the text.

    What the report does not hold is left out. Absolute paths are cut to their last part and anything that looks like
    an access token is removed, since a card is made to be published.

    Args:
        report: of the run, or of one training.
        stage: which of ``report.stages`` the card is of.
        repo_id: where the model is published; without it, the code names the stage's folder.
    Raises:
        RequestError: the report holds no such stage.
    """
    result = report.stage(stage)
    if result is None:
        raise unknown("stage", stage, [each.stage for each in report.stages])
    sections = [
        f"# {markdown(title(report, result, repo_id))}",
        _summary(report, result),
        _results([_shown(report, each) for each in report.stages], result),
        _usage(report, result, repo_id),
        _exits(report, stage, repo_id),
        _lineage(report, result),
        _limits(report, result),
        _versions(report),
        _citations(report, result),
    ]
    front = card_data(report, result, repo_id).to_yaml()
    return redact(f"---\n{front}\n---\n\n" + "\n\n".join(section for section in sections if section) + "\n")


def _shown(report: Report, result: StageResult) -> StageResult:
    """A row of the table: a teacher from outside is not named by its whole path."""
    metric, problem = result.main_metric or report.main_metric, result.problem_type or report.problem_type
    name = str(publishable(result.stage))
    return result.model_copy(update={"stage": name, "main_metric": metric, "problem_type": problem})


def _summary(report: Report, result: StageResult) -> str:
    what, *answers = report.problem.summary(_input(report), [_code(name) for name in report.label_names or ()])
    task = f" for the task {_code(report.task)}" if report.task else ""
    lines = [f"{what}{task}.", *answers, ROLES.get(str(result.role), "")]
    return "\n".join([*(line for line in lines if line), "Made with distilnlp."])


def _results(rows: list[StageResult], result: StageResult) -> str:
    lines = ["## Results", "", "All models of the run, on the same held-out data:", "", markdown_table(rows)]
    below = [*verdicts(rows), *relative_lines(rows), *exported_lines(rows), *footnotes(rows)]
    if below:
        lines += ["", *(f"- {markdown(line)}" for line in below)]
    further = [(f"On the {markdown(name)} set", metrics) for name, metrics in result.extra.items()]
    if result.baseline is not None:
        further.insert(0, ("All metrics of the baseline", result.baseline.metrics))
    for name, metrics in ("All metrics of this model", result.metrics), *further:
        values = [f"{markdown(metric)} {value:.4f}" for metric, value in metrics.items()]
        if values:
            lines.append(f"- {name}: {', '.join(values)}.")
    return "\n".join(lines)


def _usage(report: Report, result: StageResult, repo_id: str | None) -> str:
    problem, stage = report.problem, result.stage
    texts = ", ".join(map(json.dumps, problem.card_texts)) if _is_pair(report) else problem.card_text
    length = _max_length(report)
    limit = f", max_length={length}" if length else ""
    comment = "" if repo_id else "  # the folder of the model, or its id on the Hub"
    named = f"name = {json.dumps(one_line(repo_id or stage), ensure_ascii=False)}{comment}"
    if result.exported is not None:
        return _exported_usage(result.exported, repo_id, f"{texts}, truncation=True{limit}")
    if problem.vectors:
        return f"""## How to use

```python
from sentence_transformers import SentenceTransformer

{named}
model = SentenceTransformer(name)
vectors = model.encode(["A first text.", "A second text."])
{problem.card_code()}
```"""
    imported = f"from transformers import {problem.auto_class}, AutoTokenizer"
    loaded = f"AutoTokenizer.from_pretrained(name)\nmodel = {problem.auto_class}.from_pretrained(name).eval()"
    told = ""
    if has_own_architecture(report, stage):
        told = (
            "\nThe architecture is one of distilnlp's own (`pip install distilnlp`); it runs no code of this folder.\n"
        )
        imported = "from distilnlp.models import load_classifier, load_tokenizer"
        loaded = "load_tokenizer(name)\nmodel = load_classifier(name)"
    return f"""## How to use
{told}
```python
import torch
{imported}

{named}
tokenizer = {loaded}

inputs = tokenizer({texts}, truncation=True{limit}, return_tensors="pt")
with torch.no_grad():
    logits = {problem.card_logits}
{problem.card_code()}
```"""


def _exported_usage(exported: ExportedFile, repo_id: str | None, arguments: str) -> str:
    """How an exported file is asked, without torch; the tokenizer is that of transformers."""
    name, file = json.dumps(one_line(repo_id or "."), ensure_ascii=False), json.dumps(one_line(exported.file))
    imported, opened, asked = (file_format_of(Path(exported.file)) or ONNX).usage
    place = f"hf_hub_download(name, {file})" if repo_id else f"Path(name, {file})"
    others = [json.dumps(one_line(each.as_posix())) for each in files_of(Path(exported.file))[1:]] if repo_id else []
    fetched = "".join(f"hf_hub_download(name, {other})\n" for other in others)
    needed = "from huggingface_hub import hf_hub_download\n" if repo_id else ""
    first = "" if repo_id else "from pathlib import Path\n\n"
    comment = "" if repo_id else "  # the folder that was exported"
    return f"""## How to use

```python
{first}{imported}
{needed}from transformers import AutoTokenizer

name = {name}{comment}
tokenizer = AutoTokenizer.from_pretrained(name)
{fetched}{opened.format(place=place)}

inputs = tokenizer({arguments}, return_tensors="np")
{asked}
```"""


def _exits(report: Report, stage: str, repo_id: str | None) -> str:
    """How the heads beside the model are used, where its training has left some."""
    if "early_exits" not in part(recipe_stage(report, stage), "parts"):
        return ""
    name = json.dumps(one_line(repo_id or stage), ensure_ascii=False)
    text = f"({', '.join(map(json.dumps, report.problem.card_texts))})" if _is_pair(report) else '"A text."'
    return f"""## Early exits

Beside the model, which is a plain one, stand small heads at inner layers (`exits.safetensors`). With them a text
leaves as soon as one is certain enough of its answer; `distilnlp evaluate` measures score and speed with
`--exit-thresholds`.

```python
from distilnlp.models import Predictor

answers = Predictor.load({name}, exit_threshold=0.3).answers([{text}])
```"""


def _lineage(report: Report, result: StageResult) -> str:
    stage = result.stage
    spec = recipe_stage(report, stage)
    known = not spec or spec.get("model") or part(spec, "student")  # else its teacher would be taken for its start
    starts = start_weights(report, stage) if known else []
    facts = {
        "Start weights": ", ".join(_model(name) for name in starts),
        "Made from": _origin(report, part(spec, "student")),
        "Teacher": _teacher(report, spec, result),
        "Data": _data(report),
        "Learned together with": ", ".join(map(_code, learned_with(report, stage))),
        "Objective": _objective(part(spec, "objective")),
        "Parts of its training": _objective(part(spec, "parts")),
        "Privacy": "" if result.privacy is None else _privacy(result.privacy),
        "Seed": _seed(report, result),
        "Training time": f"{result.seconds:.0f} s" if result.seconds else "",
    }
    lines = ["## Lineage", "", *(f"- {name}: {fact}" for name, fact in facts.items() if fact)]
    if len(part(report.recipe, "stages")) > 1:
        lines += ["", _fenced(draw_graph(report.recipe), "mermaid")]
    if report.recipe:
        text = write_yaml(publishable(report.recipe), width=80)
        body = _fenced(text, "yaml")
        summary = "Recipe, resolved (absolute paths are cut to their last part)"
        lines += ["", "<details>", f"<summary>{summary}</summary>", "", body, "", "</details>"]
    return "\n".join(lines) if len(lines) > 2 else ""


def _seed(report: Report, result: StageResult) -> str:
    """Which of several seeds this model has; empty where its run had one."""
    first = report.stage(result.repeats or result.stage)
    if first is None or first.over_seeds is None:
        return ""
    others = [str(seed) for seed in first.over_seeds.seeds if seed != result.seed]
    return (
        f"{result.seed}, one of {len(others) + 1}: the table has the means, and the other scores of this card are of"
        f" this model. The same was trained with the seed{'s' if len(others) > 1 else ''} {', '.join(others)}"
    )


def _privacy(privacy: Privacy) -> str:
    return (
        f"learned from {privacy.queries} votes of {privacy.teachers} teachers with Gaussian noise of {privacy.sigma:g}"
        f" votes. Its weights have ({privacy.epsilon:.3f}, {privacy.delta:g})-differential privacy for each row of the"
        " teachers' data; the teachers, and their scores in this card, have none"
    )


def _teacher(report: Report, spec: Mapping[str, object], result: StageResult) -> str:
    if (chosen := result.chosen) is not None:
        return f"{_of_stage(report, chosen.teacher)}, chosen by the scores of those that were taught by each candidate"
    columns = recorded_columns(spec)
    if columns is not None:
        return f"answers recorded in the data (column {_code(columns)})"
    how, names = taught_by(spec, stages_of_seeds(report.recipe))
    return " ".join(filter(None, (markdown(how), ", ".join(_of_stage(report, name) for name in names))))


def _origin(report: Report, student: Mapping[str, object]) -> str:
    if not student:
        return ""
    said = ("architecture", "layers", "layer_map")
    details = [f"{key} {_code(publishable(student[key]))}" for key in said if student.get(key)]
    if student.get("vocabulary") is not None:
        details.append("some of its tokens")
    return ", ".join([_of_stage(report, str(student.get("from", ""))), *details])


def _of_stage(report: Report, name: str) -> str:
    """A model; that of a stage, whose name tells nothing outside its run, by the weights that it started from."""
    spec = recipe_stage(report, name)
    if not spec:
        return _model(name)
    is_random = part(spec, "student").get("init") == "random"
    start = "random weights" if is_random else _model(next(iter(start_weights(report, name)), name))
    how = "as it is" if spec.get("kind") == "transform" else "as trained"
    return f"{start} ({how} in stage {_code(name)})"


def _data(report: Report) -> str:
    source = report.dataset_id or report.source
    task = _code(report.task) if report.task else ""
    if not source or source == report.task:
        return task
    if source.startswith(f"{report.task}:"):
        return markdown(redact(source))  # a source that names the task itself and says more of it
    return f"{task} of {_data_link(source) if source == report.dataset_id else _code(source)}"


def _data_link(source: str) -> str:
    return f"[{markdown(source)}](https://huggingface.co/datasets/{quote(one_line(source))})"


def _model(name: str) -> str:
    return f"[{name}](https://huggingface.co/{name})" if is_hub_id(name) else _code(name) if name else ""


def _objective(objective: Mapping[str, object]) -> str:
    terms = []
    for loss in objective:
        settings = ", ".join(markdown(f"{key} {publishable(value)}") for key, value in part(objective, loss).items())
        terms.append(f"{_code(loss)}{f' ({settings})' if settings else ''}")
    return ", ".join(terms)


def _limits(report: Report, result: StageResult) -> str:
    lines = [
        f"- Meant for {_input(report)} like those that it was trained on. On other texts its scores are not known: "
        "measure them before you rely on it.",
        _one_or_several(report, result),
    ]
    if result.role == "student":
        lines.append("- A student takes over the errors and the biases of its teacher along with its answers.")
    else:
        lines.append("- It takes over the errors and the biases of its start weights and of its labels.")
    if length := _max_length(report):
        lines.append(f"- Texts are cut to {length} tokens.")
    if any(each.cost is not None and each.cost.latency_p50_ms is not None for each in report.stages):
        lines.append("- Times depend on the machine: trust the ratios between the models, not the milliseconds.")
    return "\n".join(["## Intended use and limits", "", *lines])


def _one_or_several(report: Report, result: StageResult) -> str:
    """How far the scores depend on a seed."""
    first = report.stage(result.repeats or result.stage)
    if first is None or first.over_seeds is None:
        return (
            "- The scores come from one training run; another seed gives somewhat other scores, the more so the "
            "smaller the data."
        )
    return (
        f"- The scores of what is compared are means over {len(first.over_seeds.seeds)} seeds, each of which gives a"
        " model of its own; this one was not chosen by its score."
    )


def _versions(report: Report) -> str:
    lines = [markdown(f"{name} {redact(str(publishable(version)))}") for name, version in report.versions.items()]
    return "\n".join(["## Versions", "", *(f"- {line}" for line in lines)]) if lines else ""


def _citations(report: Report, result: StageResult) -> str:
    """The publications of the losses in this stage's objective (of all that are given, without a recipe)."""
    used = part(recipe_stage(report, result.stage), "objective")
    losses = [loss for loss in report.sources if not report.recipe or loss in used]
    lines = [f"- {_code(loss)}: {_linked(markdown(report.sources[loss]))}" for loss in losses]
    if result.fidelity is not None:
        lines.append(f"- agreement with the teacher: {_linked('Stanton et al. 2021, arXiv:2106.05945')}")
    return "\n".join(["## Methods", "", *lines]) if lines else ""


def _linked(source: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", source)


def _input(report: Report) -> str:
    return "pairs of texts" if _is_pair(report) else "texts"


def _is_pair(report: Report) -> bool:
    return len(report.text_columns) == 2


def _max_length(report: Report) -> int | None:
    length = part(report.recipe, "data").get("max_length")
    return length if isinstance(length, int) else None


def _code(value: object) -> str:
    """As code, on one line, without what would end the code."""
    text = one_line(str(publishable(value))).replace("`", "'")
    return f"`{text or ' '}`"


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(text.rstrip())}\n{fence}"
