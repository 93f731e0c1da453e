"""A run by hand: a teacher, a control and a student that answer sixty texts of three classes, and no training."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilnlp.html import Evidence, Similarity
from distilnlp.report.history import History
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import Baseline, Cost, Fidelity, Report, StageResult
from distilnlp.report.step_time import StepTime

NAMES = ("bad", "good", "mixed")
ROWS = 60
SCRIPT = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
HOSTILE = {
    "script": SCRIPT,
    "end of a script": "</script></style></svg>--><b>x</b>",
    "template": "{{ 7 * 7 }} {% raw %} {# x #}",
    "markdown": "| a | b |\n|---|---|\n[x](javascript:alert(1)) `x` **x**",
    "control characters": "a\x00b\x07c\x1b[31md\u202eevil\u2028e",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 (1) abc",
    "stacked marks": "Z" + "\u0301\u0302\u0303" * 300,
    "dollars": "$\\frac{1}{0} $x_$",
    "half a pair": "a\ud800b",
    "long": "word " * 2000,
    "one word": "x" * 10_000,
}


def answers(rows: int, wrong: float, seed: int, classes: int = len(NAMES)) -> Predictions:
    """Of a model that is sure of a class, mostly the right one."""
    labels = np.arange(rows) % classes
    drawn = np.random.default_rng(seed)
    decided = np.where(drawn.random(rows) < wrong, (labels + 1) % classes, labels)
    logits = drawn.normal(0, 0.5, (rows, classes)) + 3.0 * np.eye(classes)[decided]
    return Predictions.of(labels, logits.astype(np.float32))


def row(stage: str, role: str, answered: Predictions, parameters: int, **changes: Any) -> StageResult:
    score = float((answered.logits.argmax(1) == answered.labels).mean())
    return StageResult(
        stage=stage,
        role=role,
        task="films",
        problem_type="single_label_classification",
        main_metric="accuracy",
        held_out="digest",
        score=score,
        metrics={"accuracy": score},
        baseline=Baseline(answer="the largest class of the training rows", score=0.3, gain=(0.1, 0.5), rows=ROWS),
        cost=Cost(
            parameters=parameters,
            disk_mb=parameters / 250_000,
            latency_p50_ms=parameters / 1e6,
            latency_p95_ms=parameters / 9e5,
            throughput_per_s=1e9 / parameters,
            threads=1,
            device="cpu",
            dtype="float32",
        ),
        fidelity=None if role == "teacher" else Fidelity(agreement=0.9, kappa=0.8, kl=0.1),
        **changes,
    )


def history(terms: dict[str, float], steps: int = 12) -> History:
    """A loss that falls, by its terms, with an evaluation at every fourth step."""
    log = []
    for step in range(1, steps + 1):
        raw = {f"raw/{name}": value / step**0.5 for name, value in terms.items()}
        weighted = {key.replace("raw", "weighted"): 0.5 * value for key, value in raw.items()}
        log.append({"step": float(step), "loss": sum(weighted.values()), **raw, **weighted})
        if step % 4 == 0:
            log.append({"step": float(step), "eval_accuracy": 0.5 + step / 100})
    pairs = {"hidden_state": [(0, 0), (1, 2), (2, 4)]} if "hidden_state" in terms else {}
    return History(log=log, layers=pairs, made_of=[2, 4] if pairs else None)


def a_run(names: tuple[str, ...] = NAMES, text: str = "the film was good", name: str = "films") -> Evidence:
    given = {"teacher": answers(ROWS, 0.1, 0), "control": answers(ROWS, 0.4, 1), "student": answers(ROWS, 0.15, 2)}
    stages = [row(each, each, given[each], 20_000_000 if each == "teacher" else 8_000_000) for each in given]
    report = Report(
        name=name,
        task="films",
        source="60 rows of a file",
        problem_type="single_label_classification",
        label_names=list(names),
        main_metric="accuracy",
        stages=stages,
        recipe={"name": name, "stages": {"teacher": {"model": "m"}, "student": {"teacher": "teacher", "model": "m"}}},
        versions={"torch": "2.13.0"},
        sources={"soft_target": "Hinton et al. 2015"},
    )
    return Evidence(
        report=report,
        predictions=given,
        teachers={"student": "teacher", "control": "teacher"},
        histories={
            "teacher": history({"hard_label": 1.0}),
            "student": history({"hard_label": 1.0, "soft_target": 0.8, "hidden_state": 0.3}),
        },
        step_times={
            "teacher": StepTime(
                device="cpu",
                steps=12,
                measured=12,
                seconds={"data": 0.12, "student": 1.2, "losses": 0.012, "backward": 2.4, "optimizer": 0.468},
            ),
            "student": StepTime(
                device="cpu",
                begun_at=4,
                steps=8,
                measured=8,
                seconds={"data": 0.08, "teacher": 0.8, "student": 0.4, "losses": 0.04, "backward": 0.6, "rest": 0.08},
            ),
        },
        texts=dict.fromkeys(given, lambda places: [(f"{text} {place}",) for place in places]),
        label_names=dict.fromkeys(given, names),
        similarity=Similarity("student", "teacher", np.linspace(0, 1, 15).reshape(3, 5), "on 16 texts"),
        environment={"seeds": {"student": 42}, "precision": "fp32"},
    )


def undrawn(evidence: Evidence) -> Evidence:
    """The same with little to draw, which is what takes a page its time."""
    stages = [each.model_copy(update={"cost": None}) for each in evidence.report.stages]
    report = evidence.report.model_copy(update={"stages": stages})
    return dataclasses.replace(evidence, report=report, histories={}, step_times={}, similarity=None)


@pytest.fixture(scope="session")
def finished() -> Evidence:
    """A run with all that a page can show."""
    return a_run()


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for a browser."""
    return tmp_path_factory.mktemp("profile")
