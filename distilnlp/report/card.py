"""The model card of one stage of a run: only what the run's report holds, no number besides."""

import re
from collections.abc import Iterable, Mapping

import yaml

from distilnlp.errors import RequestError, unknown
from distilnlp.problems import Problem, get_problem
from distilnlp.report.card_data import card_data, is_hub_id, publishable, recipe_stage, redact, start_weights, title
from distilnlp.report.compare import Row, footnotes, markdown_table, number, part, relative_lines

__all__ = ["render_card"]

ROLES = {
    "teacher": "It was fine-tuned on labels and taught the students of its run.",
    "control": "It was trained on labels only, without a teacher, to be compared with the distilled student.",
    "student": "It was distilled: trained to answer as its teacher does.",
}


def render_card(report: Row, *, stage: str, repo_id: str | None = None) -> str:
    """The model card (``README.md``) of a stage: front matter for the Hub, then the text.

    What the report does not hold is left out. Absolute paths are cut to their last part and anything that looks like
    an access token is removed, since a card is made to be published.

    Args:
        report: the content of ``report.json``. Read, where present: ``task``, ``main_metric``, ``stages``, ``recipe``,
            ``teacher``, ``versions``, ``dataset_id``, ``source``, ``problem_type``, ``label_names``,
            ``text_columns``, ``eval_split``, ``license``, ``language`` and ``sources`` (loss -> its publication).
        stage: which of ``report["stages"]`` the card is of; teacher, control or student.
        repo_id: where the model is published; without it, the code names the stage's folder.
    Raises:
        RequestError: the report holds no such stage.
    """
    rows = report.get("stages")
    rows = [row for row in rows if isinstance(row, Mapping) and "stage" in row] if isinstance(rows, list) else []
    row = next((row for row in rows if row["stage"] == stage), None)
    if not rows:
        raise RequestError("a model card needs a report with stages; this one lists none: finish the run first")
    if row is None:
        raise unknown("stage", stage, [str(row["stage"]) for row in rows])
    shared = {key: report[key] for key in ("main_metric",) if key in report}
    sections = [
        f"# {title(report, row, repo_id)}",
        _summary(report, row),
        _results([{**shared, **other, "stage": publishable(other["stage"])} for other in rows], row),
        _usage(report, stage, repo_id),
        _lineage(report, row),
        _limits(report, row),
        _versions(report),
        _citations(report, row),
    ]
    front = card_data(report, row, repo_id).to_yaml()
    return redact(f"---\n{front}\n---\n\n" + "\n\n".join(section for section in sections if section) + "\n")


def _summary(report: Row, row: Row) -> str:
    names = [_code(name) for name in _names(report.get("label_names"))]
    what, *answers = _problem(report).summary(_input(report), names)
    task = f" for the task {_code(report['task'])}" if report.get("task") else ""
    lines = [f"{what}{task}.", *answers]
    lines.append(ROLES.get(str(row.get("role")), ""))
    return "\n".join([*(line for line in lines if line), "Made with distilnlp."])


def _results(rows: list[Row], row: Row) -> str:
    lines = ["## Results", "", "All models of the run, on the same held-out data:", "", markdown_table(rows)]
    below = [*relative_lines(rows), *footnotes(rows)]
    if below:
        lines += ["", *(f"- {line}" for line in below)]
    for name, metrics in ("All metrics of this model", part(row, "metrics")), *_further(row):
        values = [
            f"{metric} {number(metrics, metric):.4f}" for metric in metrics if number(metrics, metric) is not None
        ]
        if values:
            lines.append(f"- {name}: {', '.join(values)}.")
    return "\n".join(lines)


def _further(row: Row) -> list[tuple[str, Row]]:
    sets = {**part(row, "extra"), **({"mismatched": row["mismatched"]} if part(row, "mismatched") else {})}
    return [(f"On the {name} set", part(sets, name)) for name in sets]


def _usage(report: Row, stage: str, repo_id: str | None) -> str:
    texts = '"A first text.", "A second text."' if _is_pair(report) else '"A text."'
    length = number(part(part(report, "recipe"), "data"), "max_length")
    limit = f", max_length={length:.0f}" if length else ""
    problem = _problem(report)
    comment = "" if repo_id else "  # the folder of the model, or its id on the Hub"
    return f"""## How to use

```python
import torch
from transformers import {problem.auto_class}, AutoTokenizer

name = "{repo_id or stage}"{comment}
tokenizer = AutoTokenizer.from_pretrained(name)
model = {problem.auto_class}.from_pretrained(name).eval()

inputs = tokenizer({texts}, truncation=True{limit}, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
{problem.card_code()}
```"""


def _lineage(report: Row, row: Row) -> str:
    stage = str(row["stage"])
    spec = recipe_stage(report, stage)
    known = not spec or spec.get("model") or part(spec, "student")  # else its teacher would be taken for its start
    starts = start_weights(report, stage) if known else []
    facts = {
        "Start weights": ", ".join(_model(name) for name in starts),
        "Made from": _origin(report, part(spec, "student")),
        "Teacher": _of_stage(report, str(spec["teacher"])) if spec.get("teacher") else "",
        "Data": _data(report),
        "Objective": _objective(part(spec, "objective")),
        "Training time": f"{seconds:.0f} s" if (seconds := number(row, "seconds")) else "",
    }
    lines = ["## Lineage", "", *(f"- {name}: {fact}" for name, fact in facts.items() if fact)]
    if recipe := part(report, "recipe"):
        text = yaml.safe_dump(publishable(recipe), sort_keys=False, allow_unicode=True)
        body = _fenced(text, "yaml")
        summary = "Recipe, resolved (absolute paths are cut to their last part)"
        lines += ["", "<details>", f"<summary>{summary}</summary>", "", body, "", "</details>"]
    return "\n".join(lines) if len(lines) > 2 else ""


def _origin(report: Row, student: Row) -> str:
    if not student:
        return ""
    details = [f"{key} {_code(publishable(student[key]))}" for key in ("layers", "layer_map") if student.get(key)]
    return ", ".join([_of_stage(report, str(student.get("from", ""))), *details])


def _of_stage(report: Row, name: str) -> str:
    """A model; that of a stage, whose name tells nothing outside its run, by the weights that it started from."""
    spec = recipe_stage(report, name)
    if not spec:
        return _model(name)
    is_random = part(spec, "student").get("init") == "random"
    start = "random weights" if is_random else _model(next(iter(start_weights(report, name)), name))
    return f"{start} ({'as trained' if spec.get('train', True) else 'as it is'} in stage {_code(name)})"


def _data(report: Row) -> str:
    source = report.get("dataset_id") or report.get("source")
    task = _code(report["task"]) if report.get("task") else ""
    if not source or source == report.get("task"):
        return task
    if str(source).startswith(f"{report.get('task')}:"):
        return redact(str(source))  # a source that names the task itself and says more of it
    return f"{task} of {_data_link(source) if source == report.get('dataset_id') else _code(source)}"


def _data_link(source: object) -> str:
    return f"[{source}](https://huggingface.co/datasets/{source})"


def _model(name: str) -> str:
    return f"[{name}](https://huggingface.co/{name})" if is_hub_id(name) else _code(name) if name else ""


def _objective(objective: Row) -> str:
    terms = []
    for loss in objective:
        settings = ", ".join(f"{key} {publishable(value)}" for key, value in part(objective, loss).items())
        terms.append(f"{_code(loss)}{f' ({settings})' if settings else ''}")
    return ", ".join(terms)


def _limits(report: Row, row: Row) -> str:
    lines = [
        f"- Meant for {_input(report)} like those that it was trained on. On other texts its scores are not known: "
        "measure them before you rely on it.",
        "- The scores come from one training run; another seed gives somewhat other scores, the more so the smaller "
        "the data.",
    ]
    if row.get("role") == "student":
        lines.append("- A student takes over the errors and the biases of its teacher along with its answers.")
    else:
        lines.append("- It takes over the errors and the biases of its start weights and of its labels.")
    if length := number(part(part(report, "recipe"), "data"), "max_length"):
        lines.append(f"- Texts are cut to {length:.0f} tokens.")
    if any("latency_p50_ms" in part(r, "cost") for r in _rows(report)):
        lines.append("- Times depend on the machine: trust the ratios between the models, not the milliseconds.")
    return "\n".join(["## Intended use and limits", "", *lines])


def _versions(report: Row) -> str:
    versions = part(report, "versions")
    lines = [f"- {name} {redact(str(publishable(version)))}" for name, version in versions.items() if version]
    return "\n".join(["## Versions", "", *lines]) if lines else ""


def _citations(report: Row, row: Row) -> str:
    """The publications of the losses in this stage's objective (of all that are given, without a recipe)."""
    sources, used = part(report, "sources"), part(recipe_stage(report, str(row["stage"])), "objective")
    losses = [loss for loss in sources if not part(report, "recipe") or loss in used]
    lines = [f"- {_code(loss)}: {_linked(' '.join(str(sources[loss]).split()))}" for loss in losses]
    if part(row, "fidelity"):
        lines.append(f"- agreement with the teacher: {_linked('Stanton et al. 2021, arXiv:2106.05945')}")
    return "\n".join(["## Methods", "", *lines]) if lines else ""


def _linked(source: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", source)


def _problem(report: Row) -> Problem:
    return get_problem(str(report.get("problem_type") or "single_label_classification"))


def _input(report: Row) -> str:
    return "pairs of texts" if _is_pair(report) else "texts"


def _is_pair(report: Row) -> bool:
    return len(_names(report.get("text_columns"))) == 2


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list | tuple) else []


def _rows(report: Row) -> Iterable[Row]:
    rows = report.get("stages")
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _code(value: object) -> str:
    """As code, on one line, without what would end the code."""
    text = " ".join(str(publishable(value)).split()).replace("`", "'")
    return f"`{text}`"


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
