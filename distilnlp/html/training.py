"""How the models of a run were trained: the terms of the loss, the scores on the way, the layers compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distilnlp.html.blocks import Block, LeftOut, Paragraph, Picture, Pictures, Section, Warning_
from distilnlp.html.drawing import INK, PALE, SERIES, figure, legend_columns, short, style, to_svg
from distilnlp.html.evidence import Evidence
from distilnlp.report.escape import one_line
from distilnlp.report.history import History
from distilnlp.report.scores import SCORES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TermDoubt", "doubtful_terms", "layers_section", "learning_section", "losses_section"]

Numbers = NDArray[np.float64]

MOST_POINTS = 300  # of a line in a picture
STILL, ALONE, NOTHING = 0.01, 0.95, 0.01
LEAST_LOGS = 6  # of fewer nothing is concluded


@dataclass(frozen=True)
class TermDoubt:
    """A term of which a reader should ask whether it does something.

    Args:
        term: its name.
        why: what is odd, in words.
    """

    term: str
    why: str


def doubtful_terms(history: History) -> list[TermDoubt]:
    """The terms of an objective that never moved, that took over the loss, or that add next to nothing to it.

    What is judged is the value, not the gradient: a term that never moves is not learned, or has nothing to teach; and
    of one that is 95 % of the loss the others may as well be left out. Of fewer than six logs nothing is said.
    """
    raw = {name: np.array(history.values(f"raw/{name}")) for name in history.named("raw/")}
    shares = _shares(history)
    found = []
    for name, values in raw.items():
        if len(values) < LEAST_LOGS:
            continue
        moved, height = float(np.ptp(_smoothed(values))), float(np.abs(values).max())
        share = shares.get(name)
        if moved <= STILL * height:
            found.append(TermDoubt(name, f"never moved: it stayed at {values.mean():.3g} all the time"))
        elif share is not None and len(shares) > 1 and share > ALONE:
            found.append(
                TermDoubt(name, f"took over: it is {100 * share:.0f} % of the loss in the second half of the training")
            )
        elif share is not None and share < NOTHING:
            found.append(
                TermDoubt(
                    name, f"adds next to nothing: {100 * share:.1f} % of the loss in the second half of the training"
                )
            )
    return found


def _smoothed(values: Numbers) -> Numbers:
    """Means of thirds, so that noise from step to step is no move."""
    return np.array([part.mean() for part in np.array_split(values, 3)])


def _shares(history: History) -> dict[str, float]:
    """Of each weighted term, its share of the loss in the second half."""
    weighted = {name: history.values(f"weighted/{name}") for name in history.named("weighted/")}
    late = {name: float(np.mean(np.abs(values[len(values) // 2 :]))) for name, values in weighted.items() if values}
    total = sum(late.values())
    return {name: value / total for name, value in late.items()} if total > 0 else {}


def losses_section(evidence: Evidence) -> Section | LeftOut:
    """The loss of each training by its terms, raw and weighted."""
    blocks: list[Block] = []
    for stage, history in evidence.histories.items():
        if len(history.steps("loss")) < 2:
            continue
        blocks += [Warning_(f"{stage}: the term {each.term} {each.why}.") for each in doubtful_terms(history)]
        blocks.append(_draw_losses(stage, history, f"losses-{len(blocks)}"))
    if not blocks:
        why = "fewer than two losses were logged (training.logging_steps)" if evidence.histories else "no log was kept"
        return LeftOut("Losses", why)
    return Section("losses", "Losses", [Paragraph(_LOSSES), *blocks])


_LOSSES = (
    "What each term of the loss was on average between two logs: first raw, then weighted, which is as it counts. The "
    "weighted terms add up to the loss."
)


def _draw_losses(stage: str, history: History, name: str) -> Picture | Pictures:
    """The loss of a training; of one with several terms these as they are, and as they count."""
    raw, weighted = (
        {term: history.values(f"{kind}/{term}") for term in history.named(f"{kind}/")} for kind in ("raw", "weighted")
    )
    steps, loss = history.steps("loss"), history.values("loss")
    says = f"Losses of {stage} over {steps[-1]} steps: the loss goes from {loss[0]:.3g} to {loss[-1]:.3g}"
    if len(weighted) < 2:
        with figure(5.2, 3.0) as (drawn, axis):
            _line(axis, steps, loss, 0, "loss")
            axis.set_xlabel("step")
            axis.margins(x=0.02)
            return Picture(to_svg(drawn, name), f"{says}.", f"{stage}: loss by step")
    made, columns = [], legend_columns([*weighted, "loss"], 3.8)
    rows = -(-(len(weighted) + 1) // columns)
    for kind, terms in (("raw", raw), ("weighted", weighted)):
        with figure(3.8, 2.7 + 0.2 * rows) as (drawn, axis):
            for place, (term, values) in enumerate(terms.items()):
                _line(axis, history.steps(f"{kind}/{term}"), values, place, term)
            if kind == "weighted":
                _line(axis, steps, loss, -1, "loss", color=INK, linestyle="-", linewidth=1.0)
            drawn.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=columns)
            axis.set_xlabel("step")
            axis.margins(x=0.02)
            told = "; ".join(f"{one_line(term)} from {each[0]:.3g} to {each[-1]:.3g}" for term, each in terms.items())
            said = f"{says}; {told}." if kind == "raw" else f"Weighted, {told}."
            made.append(Picture(to_svg(drawn, f"{name}-{kind}"), said, f"{stage}: {kind} terms by step"))
    return Pictures(made)


def _line(axis: Axes, steps: Sequence[int], values: Sequence[float], place: int, label: str, **changes: Any) -> None:
    """A line of at most so many points, each the mean of its neighbours, with a mark on a few of them."""
    x, y = (_fewer(np.asarray(each, dtype=float)) for each in (steps, values))
    look = {**style(place), **changes}
    if "color" in changes:
        look["marker"] = None
    axis.plot(x, y, label=short(label), markevery=max(1, len(x) // 8), **look)


def _fewer(values: Numbers) -> Numbers:
    if len(values) <= MOST_POINTS:
        return values
    return np.array([part.mean() for part in np.array_split(values, MOST_POINTS)])


def learning_section(evidence: Evidence) -> Section | LeftOut:
    """The score after each evaluation while a model was trained."""
    curves: dict[str, list[tuple[str, History, str]]] = {}
    for row in evidence.report.stages:
        history = evidence.histories.get(row.stage)
        key = None if history is None else _evaluated(history, row.main_metric)
        if history is not None and key is not None:
            curves.setdefault(row.main_metric or "", []).append((row.stage, history, key))
    if not curves:
        return LeftOut(
            "Learning curves",
            "no model was measured while it was trained (training: {eval_strategy: steps, eval_steps: 50})",
        )
    pictures = [_draw_curves(metric, found, number) for number, (metric, found) in enumerate(curves.items())]
    return Section("curves", "Learning curves", [Paragraph(_CURVES), *pictures])


_CURVES = "The score on the held-out examples at each evaluation during the training."


def _evaluated(history: History, metric: str | None) -> str | None:
    """The key of the score, of a training with at least two evaluations."""
    key = f"eval_{metric}"
    return key if len(history.steps(key)) > 1 else None


def _draw_curves(metric: str, curves: Sequence[tuple[str, History, str]], number: int) -> Picture:
    told = []
    columns = legend_columns([stage for stage, _, _ in curves], 5.2)
    with figure(5.2, 3.0 + 0.2 * -(-len(curves) // columns)) as (drawn, axis):
        for place, (stage, history, key) in enumerate(curves):
            values = history.values(key)
            _line(axis, history.steps(key), values, place, stage)
            best = (max if _higher_is_better(metric) else min)(values)
            told.append(f"{stage} ends at {values[-1]:.3f}, its best is {best:.3f}")
        axis.set_xlabel("step")
        axis.set_ylabel(metric)
        drawn.legend(loc="outside lower center", ncols=columns)
        svg = to_svg(drawn, f"curves-{number}")
    return Picture(svg, f"{metric} on the held-out examples while training: {'; '.join(told)}.")


def _higher_is_better(metric: str) -> bool:
    return metric not in SCORES or SCORES[metric].higher_is_better


def layers_section(evidence: Evidence) -> Section | LeftOut:
    """Which layer of a student was made of which of its teacher's, and which were compared."""
    blocks: list[Block] = []
    for stage, history in evidence.histories.items():
        maps: dict[str, Sequence[tuple[int, int]]] = dict(_distinct(history.layers))
        if history.made_of:
            maps = {"made of": list(enumerate(history.made_of, 1)), **maps}
        if maps:
            blocks.append(_draw_layers(stage, maps, f"layers-{len(blocks)}"))
    if not blocks:
        return LeftOut("Layers", "no student was made of layers of a teacher, and no loss compared layers")
    return Section("layers", "Layers", [Paragraph(_LAYERS), *blocks])


_LAYERS = "Which layer of a student was copied from which of its teacher's, and which layers the losses compared."


def _distinct(layers: Mapping[str, Sequence[tuple[int, int]]]) -> list[tuple[str, Sequence[tuple[int, int]]]]:
    """The maps, those that are equal under all their names."""
    names: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for name, pairs in layers.items():
        names.setdefault(tuple(sorted((own, other) for own, other in pairs)), []).append(one_line(name))
    return [(", ".join(found), pairs) for pairs, found in names.items()]


def _draw_layers(stage: str, maps: Mapping[str, Sequence[tuple[int, int]]], name: str) -> Pictures:
    deepest = max(max(pair) for pairs in maps.values() for pair in pairs)
    own = max(pair[0] for pairs in maps.values() for pair in pairs)
    made = []
    for place, (title, pairs) in enumerate(maps.items()):
        with figure(2.6, 0.9 + 0.24 * (deepest + 1)) as (drawn, axis):
            axis.grid(visible=False)
            axis.set(xlim=(-0.4, 1.4), ylim=(-0.7, deepest + 0.7), xticks=[0, 1], yticks=[])
            axis.set_xticklabels(["teacher", "student"])
            axis.spines[:].set_visible(False)
            axis.set_title(short(title))
            for x, layers in ((0.0, range(deepest + 1)), (1.0, range(own + 1))):
                axis.scatter([x] * len(layers), list(layers), s=90, color=PALE, zorder=2)
                for layer in layers:
                    axis.text(x + (-0.16 if x == 0 else 0.16), layer, str(layer), ha="center", va="center", fontsize=8)
            for student, teacher in pairs:
                axis.plot([0, 1], [teacher, student], color=SERIES[place % len(SERIES)], marker="o", zorder=3)
            svg = to_svg(drawn, f"{name}-{place}")
        told = ", ".join(f"student {student} with teacher {teacher}" for student, teacher in pairs)
        says = f"Layers of {stage}, {title}: {told}. Layer 0 is the embeddings."
        made.append(Picture(svg, says, f"{stage}: 0 is the embeddings"))
    return Pictures(made)
