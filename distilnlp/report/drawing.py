"""The plan of a recipe as a picture: who teaches whom, on one line of text or as a Mermaid graph."""

from collections.abc import Mapping
from dataclasses import dataclass

from distilnlp.recipe.names import as_stage, checkpoint_step
from distilnlp.recipe.seeds import repeated_stages, seeds_of
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
        seeds: those that it is made with, once with each; empty where it is made once.
    """

    name: str
    start: str
    teachers: tuple[str, ...]
    how: str
    made: str
    seeds: tuple[int, ...] = ()

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
        said = [*([f"from {stage.start}"] if elsewhere else []), *([_times(stage)] if stage.seeds else [])]
        shown = f"{stage.name} ({', '.join(said)})" if said else stage.name
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
        seeds = f", with each of the seeds {', '.join(map(str, stage.seeds))}" if stage.seeds else ""
        lines.append(f"{stage.name.ljust(width)}  {stage.made} {_named(stage.start)}{taught}{seeds}")
    return lines


def draw_graph(recipe: Mapping[str, object]) -> str:
    """The plan as a Mermaid graph: an arrow from each teacher, a dotted one from what a stage starts from.

    Names are written so that none of their signs means anything to Mermaid. ``recipe``: as for `draw_line`.
    """
    stages = _stages(recipe)
    nodes = {name: f"s{number}" for number, name in enumerate(stages)}
    told = {name: f"{name}, {_times(stage)}" if stage.seeds else name for name, stage in stages.items()}
    lines = ["graph LR", *(f'  {node}["{_escaped(told[name])}"]' for name, node in nodes.items())]

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
    """The stages as they are written: of several seeds one."""
    stages, seeds = part(recipe, "stages"), tuple(seeds_of(recipe))
    again = repeated_stages(recipe) if len(seeds) > 1 else []
    return {name: _stage(name, part(stages, name), stages, seeds if name in again else ()) for name in stages}


def _times(stage: _Stage) -> str:
    return f"{len(stage.seeds)} seeds"


def _stage(name: str, spec: Mapping[str, object], stages: Mapping[str, object], seeds: tuple[int, ...]) -> _Stage:
    student = part(spec, "student")
    layers = student.get("layers")
    number = len(layers) if isinstance(layers, list) else layers
    made = "" if not student else f"{number} layers of" if number else "made of"
    if student.get("init") == "random":
        made = f"random weights, {made}"
    how, teachers = taught_by(spec, stages)
    made = made or ("as it is:" if spec.get("kind") == "transform" else "starts from")
    return _Stage(name, str(student.get("from", spec.get("model", ""))), teachers, how, made, seeds)


def _named(model: str) -> str:
    return one_line(str(publishable(model)))


def _escaped(text: str) -> str:
    """Signs that Mermaid, or markdown around it, would read, by their numbers."""
    return "".join(sign if sign.isalnum() or sign in " -_./@,()+" else f"#{ord(sign)};" for sign in one_line(text))
