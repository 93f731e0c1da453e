"""What an optimizer step of each training took its time for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distilnlp.html.blocks import Block, Cell, LeftOut, Notes, Paragraph, Picture, Section, Table
from distilnlp.html.drawing import PALE, SERIES, figure, short, to_svg
from distilnlp.html.evidence import Evidence
from distilnlp.report.escape import one_line
from distilnlp.report.step_time import PHASES, StepTime

__all__ = ["step_time_section"]

TITLE = "Time of a step"
LEAST = 0.001  # of a step, below which a part is not told in words


def step_time_section(evidence: Evidence) -> Section | LeftOut:
    """Where the milliseconds of an optimizer step went, by stage."""
    taken = evidence.step_times
    if not taken:
        return LeftOut(
            TITLE, "no stage has kept it: none was trained, or by an older version, or for a few steps only"
        )
    shown = [name for name in PHASES if any(each.seconds.get(name) for each in taken.values())]
    lines = [_told(stage, each) for stage, each in taken.items()]
    blocks: list[Block] = [
        Paragraph(_WHAT),
        _draw(taken, shown),
        _table(taken, shown),
        Notes([*lines, *_notes(taken)]),
    ]
    return Section("step-time", TITLE, blocks)


_WHAT = (
    "What one optimizer step took its time for, with all of its passes where gradients are accumulated. Evaluations, "
    "logs and checkpoints stand between two steps and are not in it."
)


def _shares(taken: StepTime, shown: Sequence[str]) -> list[float]:
    whole = sum(taken.seconds.values()) or 1.0
    return [taken.seconds.get(name, 0.0) / whole for name in shown]


def _draw(taken: Mapping[str, StepTime], shown: Sequence[str]) -> Picture:
    places = range(len(taken), 0, -1)  # the first on top
    with figure(5.2, 1.25 + 0.34 * len(taken)) as (drawn, axis):
        left = [0.0] * len(taken)
        for name, colour in zip(shown, _colours(shown), strict=True):
            widths = [100 * _shares(each, shown)[shown.index(name)] for each in taken.values()]
            axis.barh(list(places), widths, left=left, height=0.62, color=colour, label=name)
            left = [before + width for before, width in zip(left, widths, strict=True)]
        axis.set_yticks(list(places), [f"{short(stage)}\n{each.whole:.3g} ms" for stage, each in taken.items()])
        axis.grid(visible=False, axis="y")
        axis.set(xlim=(0, 100), xlabel="% of a step")
        drawn.legend(loc="outside lower center", ncols=4)
        svg = to_svg(drawn, "step-time")
    told = "; ".join(
        f"{one_line(stage)} {each.whole:.3g} ms: "
        + ", ".join(
            f"{name} {100 * share:.0f} %"
            for name, share in zip(shown, _shares(each, shown), strict=True)
            if share >= LEAST
        )
        for stage, each in taken.items()
    )
    return Picture(svg, f"What an optimizer step took its time for, by stage. {told}.")


def _colours(shown: Sequence[str]) -> list[str]:
    """One for each part, the same on every page; what is left is pale."""
    all_of_them = dict(zip(PHASES, (*SERIES, PALE), strict=True))
    return [all_of_them[name] for name in shown]


def _table(taken: Mapping[str, StepTime], shown: Sequence[str]) -> Table:
    rows = [
        [
            Cell(one_line(stage), foreign=True),
            Cell(f"{each.whole:.3g}", each.whole, strong=True),
            *(
                Cell(
                    f"{each.milliseconds.get(name, 0.0):.3g}",
                    each.milliseconds.get(name, 0.0),
                    share,
                    note=f"{100 * share:.0f} %",
                )
                for name, share in zip(shown, _shares(each, shown), strict=True)
            ),
        ]
        for stage, each in taken.items()
    ]
    return Table("Milliseconds of an optimizer step, and the share of each part.", ("stage", "step", *shown), rows)


def _told(stage: str, taken: StepTime) -> str:
    """Of how many steps the time was taken."""
    after = f" after step {taken.begun_at}, where the process that was broken off had come" if taken.begun_at else ""
    many = "all" if taken.measured == taken.steps else f"{taken.measured:,} of"
    return f"{one_line(stage)}: measured in {many} {taken.steps:,} steps{after}, on {taken.device}."


def _notes(taken: Mapping[str, StepTime]) -> list[str]:
    said = [f"{', '.join(f'{name}: {what}' for name, what in PHASES.items())}."]
    if any(each.device != "cpu" for each in taken.values()):
        said.append(
            "On an accelerator the parts of a measured step wait for each other; in all other steps they may overlap, "
            "so that a step is faster than this sum."
        )
    return said
