"""What the trainer takes from Trainer beside its public methods: little, named here, and as it is expected to be."""

import ast
import inspect
import textwrap
from pathlib import Path

from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

from distilnlp.training import trainer as module
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import make_trainer

OVERRIDDEN = {
    "__init__",
    "_get_eval_sampler",
    "_get_train_sampler",
    "_init_training_state",
    "_issue_warnings_after_load",
    "_load_best_model",
    "_load_from_checkpoint",
    "_save_checkpoint",
    "compute_loss",
    "create_model_card",
    "create_optimizer",
    "evaluate",
    "get_batch_samples",
    "get_train_dataloader",
    "hyperparameter_search",
    "log",
    "predict",
    "push_to_hub",
    "save_model",
    "train",
}
# Each with the place that says why there is no public way.
PRIVATE = {"_get_dataloader", "_get_output_dir", "_save_checkpoint", "_signature_columns", "_train_batch_size"}
PRIVATE |= {"_get_train_sampler", "_init_training_state", "_load_best_model", "_load_from_checkpoint"}
PRIVATE |= {"_get_eval_sampler", "_issue_warnings_after_load"}


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def assigned_to_self(function: object) -> set[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))  # type: ignore[arg-type]
    targets = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return {target.attr for target in targets}


def test_the_methods_of_trainer_that_are_overridden_are_these() -> None:
    assert {name for name in vars(DistillationTrainer) if callable(vars(Trainer).get(name))} == OVERRIDDEN
    assert DistillationTrainer.__bases__ == (Trainer,)


def test_the_private_names_of_trainer_that_are_used_are_these() -> None:
    upstream = {*vars(Trainer), *assigned_to_self(Trainer.__init__)}
    used = {node.attr for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Attribute)}
    used |= set(vars(DistillationTrainer))
    assert {name for name in used & upstream if name.startswith("_") and not name.startswith("__")} == PRIVATE
    for path in Path(module.__file__).parent.glob("*.py"):
        assert path.name == "trainer.py" or "trainer._" not in path.read_text()


def test_the_private_methods_take_what_they_are_given() -> None:
    assert parameters(Trainer._save_checkpoint) == ["self", "model", "trial"]
    assert parameters(Trainer._get_output_dir) == ["self", "trial"]
    assert parameters(Trainer._load_best_model) == ["self"]
    assert parameters(Trainer._get_eval_sampler) == ["self", "eval_dataset"]
    assert parameters(Trainer._issue_warnings_after_load) == ["self", "load_result"]
    assert parameters(Trainer._load_from_checkpoint) == ["self", "resume_from_checkpoint", "model"]
    assert parameters(Trainer._init_training_state) == [
        *("self", "max_steps", "num_update_steps_per_epoch", "num_train_epochs", "resume_from_checkpoint", "trial")
    ]
    assert parameters(Trainer._get_dataloader)[:6] == [
        *("self", "dataset", "description", "batch_size", "sampler_fn", "is_training")
    ]


def test_trainers_own_loader_is_the_call_that_ours_is() -> None:
    source = inspect.getsource(Trainer.get_train_dataloader)
    assert "self._get_dataloader(" in source and "batch_size=self._train_batch_size" in source


def test_the_columns_that_are_kept_are_read_where_they_are_set(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    for function in (Trainer._remove_unused_columns, Trainer._get_collator_with_removed_columns):
        assert "self._signature_columns" in inspect.getsource(function)
    assert trainer._signature_columns is None  # the evaluation's own, found when they are needed
    trainer.get_train_dataloader()
    assert trainer._signature_columns is None


def test_a_checkpoint_is_written_where_the_arguments_say() -> None:
    """It is staged by pointing ``args.output_dir`` elsewhere for that time."""
    assert "self._get_output_dir(trial" in inspect.getsource(Trainer._save_checkpoint)
    assert "self.args.output_dir" in inspect.getsource(Trainer._get_output_dir)
    assert parameters(get_last_checkpoint) == ["folder"]


def test_the_signatures_that_are_written_out_are_those_of_trainer() -> None:
    for name in ("train", "save_model", "push_to_hub", "create_model_card"):
        missing = set(parameters(vars(Trainer)[name])) - set(parameters(vars(DistillationTrainer)[name]))
        assert missing == set(), name
