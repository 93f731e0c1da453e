"""The plan of a recipe as a picture: who teaches whom, on one line of text or as a Mermaid graph."""

from collections.abc import Mapping
from dataclasses import dataclass

from distilnlp.recipe.names import as_stage, checkpoint_step
from distilnlp.report.card_data import part, publishable, taught_by
from distilnlp.report.escape import one_line

__all__ = ["draw_graph", "draw_line", "draw_stages"]


@dataclass(frozen=True)
class _Stage:
    """A stage as it is drawn.

    Args:
        name: of the stage.
        start: the stage, folder or Hub id that it starts from.
        teachers: the models that teach it, or of which one does.
        how: what stands before its teachers: the kind of a teacher that is made of others, or follows the student.
        made: how its model is made of its start, in words.
    """

    name: str
    start: str
    teachers: tuple[str, ...]
    how: str
    made: str

    @property
    def taught_by(self) -> str:
        """All its teachers in words; empty without one."""
        return " ".join(filter(None, (self.how, " + ".join(map(_named, self.teachers)))))


def draw_line(recipe: Mapping[str, object]) -> str:
    """The plan on one line: ``teacher -> ta -> student; control (from ta)``.

    Args:
        recipe: its resolved values, as `distilnlp.recipe.Recipe.to_dict` gives them.
    """
    chains: list[tuple[list[str], list[str]]] = []  # the stages of each, and its links
    stages = _stages(recipe)
    for stage in stages.values():
        before = next((each for each in chains if (each[0][-1],) == stage.teachers), None)
        if before is None:
            before = ([*map(as_stage, stage.teachers)], [*filter(None, [stage.taught_by])])
            chains.append(before)
        start = as_stage(stage.start)
        # A student is often made of the first teacher of its chain.
        elsewhere = start in stages and start not in before[0]
        shown = f"{stage.name} (from {stage.start})" if elsewhere else stage.name
        before[0].append(stage.name)
        before[1].append(shown)
    return "; ".join(" -> ".join(links) for _, links in chains)


def draw_stages(recipe: Mapping[str, object]) -> list[str]:
    """A line for each stage: what it is made of, and who teaches it. ``recipe``: as for `draw_line`."""
    stages = _stages(recipe)
    width = max((len(name) for name in stages), default=0)
    lines = []
    for stage in stages.values():
        taught = f", taught by {stage.taught_by}" if stage.taught_by else ""
        lines.append(f"{stage.name.ljust(width)}  {stage.made} {_named(stage.start)}{taught}")
    return lines


def draw_graph(recipe: Mapping[str, object]) -> str:
    """The plan as a Mermaid graph: an arrow from each teacher, a dotted one from what a stage starts from.

    Names are written so that none of their signs means anything to Mermaid. ``recipe``: as for `draw_line`.
    """
    stages = _stages(recipe)
    nodes = {name: f"s{number}" for number, name in enumerate(stages)}
    lines = ["graph LR", *(f'  {node}["{_escaped(name)}"]' for name, node in nodes.items())]

    def node(model: str) -> str:
        known = as_stage(model)
        if known in stages:
            return nodes[known]
        if model not in nodes:
            nodes[model] = f"m{len(nodes)}"
            lines.append(f'  {nodes[model]}(["{_escaped(_named(model))}"])')
        return nodes[model]

    def label(words: str, model: str) -> str:
        step = checkpoint_step(model) if as_stage(model) in stages else None
        return words if step is None else f"{words}, step {step}"

    for stage in stages.values():
        own = nodes[stage.name]
        if stage.how and not stage.teachers:
            lines.append(f'  {own} -->|"{_escaped(stage.how)}"| {own}')
        for model in stage.teachers:
            words = " ".join(filter(None, ("teaches", f"({stage.how})" if stage.how else "")))
            lines.append(f'  {node(model)} -->|"{_escaped(label(words, model))}"| {own}')
        lines.append(f'  {node(stage.start)} -.->|"{_escaped(label("start", stage.start))}"| {own}')
    return "\n".join(lines)


def _stages(recipe: Mapping[str, object]) -> dict[str, _Stage]:
    stages = part(recipe, "stages")
    return {name: _stage(name, part(stages, name), stages) for name in stages}


def _stage(name: str, spec: Mapping[str, object], stages: Mapping[str, object]) -> _Stage:
    student = part(spec, "student")
    layers = student.get("layers")
    number = len(layers) if isinstance(layers, list) else layers
    made = "" if not student else f"{number} layers of" if number else "made of"
    if student.get("init") == "random":
        made = f"random weights, {made}"
    how, teachers = taught_by(spec, stages)
    made = made or ("as it is:" if spec.get("kind") == "transform" else "starts from")
    return _Stage(name, str(student.get("from", spec.get("model", ""))), teachers, how, made)


def _named(model: str) -> str:
    return one_line(str(publishable(model)))


def _escaped(text: str) -> str:
    """Signs that Mermaid, or markdown around it, would read, by their numbers."""
    return "".join(sign if sign.isalnum() or sign in " -_./@,()+" else f"#{ord(sign)};" for sign in one_line(text))
