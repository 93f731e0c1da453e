"""A training that is killed loses nothing: what it left is whole, and it goes on to the same weights.

``DISTILNLP_KILLS=10 pytest -s tests/training/test_kill.py tests/run/test_kill.py`` kills ten times and prints the
difference.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.killing import KILLS, Killer, check_checkpoints, largest_difference, report, starter, until_finished
from tests.scripts.train_tiny import train_tiny, weights_file

ADAMW = {"optim": "adamw_torch", "num_train_epochs": 5, "save_strategy": "steps", "save_steps": 1}


@pytest.mark.slow
@pytest.mark.parametrize("follows", [None, "average", "peers"], ids=str)
def test_a_training_that_is_killed_ends_with_the_same_weights(
    tmp_path: Path, record_property: Callable[[str, object], None], follows: str | None
) -> None:
    """Dropout, AdamW; a save at every step, of which two are kept. A teacher that follows has its weights too."""
    settings: dict[str, Any] = {"follows": follows, "args": {**ADAMW, "save_total_limit": 2}}
    train_tiny(str(tmp_path / "whole"), follows=follows, args={**ADAMW, "save_strategy": "no"})
    folder = tmp_path / "killed"
    killer = Killer(folder, seed=KILLS)

    until_finished(starter(train_tiny, str(folder), **settings), killer, lambda: check_checkpoints(folder))

    assert killer.kills == KILLS
    assert check_checkpoints(folder) == [29, 30]
    assert not killer.saving()
    difference = largest_difference(weights_file(folder), weights_file(tmp_path / "whole"))
    report(f"training with {follows or 'projections'}", killer, difference, record_property)
    assert difference == 0.0
    kept = {"average": "average.", "peers": "distilnlp_peers", None: "distilnlp_modules"}[follows]
    assert any(name.startswith(kept) for name in load_file(weights_file(folder)))
