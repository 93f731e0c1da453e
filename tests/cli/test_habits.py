"""What people type out of habit means the option that it stands for, or is refused; never something else."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from distilnlp.cli import app, main
from distilnlp.cli._habits import HABITS, Known

ROOT = Path(__file__).parents[2]
GROUP = typer.main.get_command(app)


def dry(capsys, *words: str) -> dict:
    assert main([*words, "--dry-run"]) == 0, capsys.readouterr().err
    return yaml.safe_load(capsys.readouterr().out)


def refusal(capsys, *words: str) -> str:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


TRL = "--dataset_name mrpc --model_name_or_path some/model --num_train_epochs 2 --per_device_train_batch_size 8"
TRL += " --max_seq_length=64 --learning_rate 2e-5 --bf16 --use_peft --seed=3"
OURS = "mrpc --model some/model --epochs 2 --batch-size 8 --max-length 64 --learning-rate 2e-5 --precision bf16 --lora"


def test_a_command_line_of_trl_is_the_one_of_ours(capsys):
    assert dry(capsys, "finetune", *TRL.split()) == dry(capsys, "finetune", *OURS.split(), "--seed", "3")


def test_underscores_may_stand_anywhere_in_a_long_option(capsys):
    ours = dry(capsys, "distill", "mrpc", "--teacher", "t", "--student-layers", "2", "--no-control")
    assert dry(capsys, "distill", "mrpc", "--teacher", "t", "--student_layers=2", "--no_control") == ours


def test_the_model_is_the_student_where_a_teacher_has_an_option_of_its_own(capsys):
    recipe = dry(capsys, "distill", "mrpc", "--teacher_model_name_or_path", "t", "--model_name_or_path", "s")
    assert (recipe["stages"]["student"]["teacher"], recipe["stages"]["student"]["model"]) == ("t", "s")


@pytest.mark.parametrize("switch", ["--bf16 --fp16 False", "--bf16 true", "--bf16=True --fp16=false"])
def test_a_switch_may_have_a_word_behind_it_as_in_transformers(capsys, switch):
    assert dry(capsys, "finetune", "mrpc", "--model", "m", *switch.split())["precision"] == "bf16"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--epochs 2 --num_train_epochs 2", "--epochs and --num_train_epochs are one option"),
        ("--num_train_epochs 2 --num-train-epochs 3", "are one option"),
        ("-o a --output_dir b", "-o and --output_dir are one option"),
        ("-oa --output_dir b", "-o and --output_dir are one option"),
        ("--bf16 --precision fp32", "--bf16 and --precision are one option"),
        ("--max-length 3 --max_length 4", "are one option"),
        ("--label a --label_column_name b", "are one option"),
        ("--bf16=perhaps", "--bf16 is perhaps: true or false"),
        ("--num_train_epochs", "--num_train_epochs is the last word"),
        ("--num_train_epoch 2", "No such option: --num_train_epoch"),
        ("--student_model s", "No such option: --student_model"),
        ("--dataset_name rte", "unexpected extra argument"),
    ],
)
def test_what_would_be_said_twice_or_nowhere_is_refused(capsys, words, told):
    assert told in refusal(capsys, "finetune", "mrpc", "--model", "m", *words.split())


def test_our_own_spellings_are_left_to_the_parser(capsys):
    """A value is never taken for an option, and what is behind two hyphens never for anything else."""
    assert dry(capsys, "finetune", "mrpc", "--model", "--num_train_epochs")["stages"]["teacher"]["model"] == (
        "--num_train_epochs"
    )
    assert "--num_train_epochs" in refusal(capsys, "finetune", "--model", "m", "--", "mrpc", "--num_train_epochs")


def test_a_habit_that_no_command_has_would_be_dead():
    commands = [Known.of(command.params) for command in GROUP.commands.values()]  # type: ignore[attr-defined]
    for name in HABITS:
        assert any(known.meant(name) not in (None, (name, None)) for known in commands), name


def test_the_table_of_habits_is_that_of_the_page():
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    rows = re.findall(r"^\| ((?:`--\w+`(?:, )?)+) \| (.+) \|$", page, re.MULTILINE)
    told = {f"--{name.replace('_', '-')}": meant for names, meant in rows for name in re.findall(r"--(\w+)", names)}
    assert told.keys() == HABITS.keys()
    for name, habit in HABITS.items():
        words = [f"{each} {habit.value}" if habit.value else each for each in habit.meant]
        assert [each in told[name] for each in words] == [True] * len(words), name


# ---- --config ----


def config(folder: Path, text: str) -> str:
    path = folder / "f.yaml"
    path.write_text(text)
    return str(path)


def test_a_file_says_what_the_command_line_does_not(capsys, tmp_path):
    file = config(
        tmp_path,
        "dataset_name: mrpc\nmodel_name_or_path: m\nnum_train_epochs: 2\nlearning_rate: 2e-5\nbf16: true\n"
        "fp16: false\nuse_peft: true\nlabel: [a, b]\nset: [data.max_train=5]\nseed: 7\nweight: null\n",
    )
    words = "mrpc --model m --epochs 2 --learning-rate 2e-5 --precision bf16 --lora --label a --label b"
    ours = dry(capsys, "finetune", *words.split(), "--set", "data.max_train=5", "--seed", "7")
    assert dry(capsys, "finetune", "--config", file) == ours
    assert dry(capsys, "finetune", "--config", file, "--seed", "3") == {**ours, "seed": 3}


def test_a_file_can_switch_off_what_is_on(capsys, tmp_path):
    file = config(tmp_path, "task: mrpc\nteacher: t\nstudent_layers: 2\ncontrol: false\n")
    assert list(dry(capsys, "distill", "--config", file)["stages"]) == ["student"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epohcs: 2", "f.yaml line 1: unknown option 'epohcs' of finetune: did you mean 'epochs'?"),
        ("epochs: 2\nnum_train_epochs: 3", "f.yaml line 2: epochs and num_train_epochs are one option"),
        ("epochs: {a: 1}", "f.yaml line 1: epochs is {'a': 1}: one value is needed"),
        ("epochs: [1, 2]", "one value is needed"),
        ("epochs: true", "one value is needed"),
        ("label: [[a]]", "a value or a list of them is needed"),
        ("lora: maybe", "lora is 'maybe': true or false is needed"),
        ("config: other.yaml", "unknown option 'config'"),
        ("epochs: many", "--epochs"),
        ("- epochs", "options and their values are needed"),
        ("epochs: 2\nepochs: 3", "f.yaml line 2"),
    ],
)
def test_what_a_file_cannot_mean_is_refused_with_its_line(capsys, tmp_path, text, told):
    assert told in refusal(capsys, "finetune", "mrpc", "--model", "m", "--config", config(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(capsys, tmp_path):
    assert "cannot be read" in refusal(capsys, "finetune", "mrpc", "--config", str(tmp_path / "none.yaml"))
    (tmp_path / "f.yaml").write_bytes(b"\xff")
    assert "not UTF-8" in refusal(capsys, "finetune", "mrpc", "--config", str(tmp_path / "f.yaml"))


# ---- completion ----


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_and_set_up_for_a_shell(shell, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda *given: (shell, f"/bin/{shell}"))
    monkeypatch.setattr("sys.argv", ["distilnlp"])
    assert main(["--show-completion"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "_DISTILNLP_COMPLETE" in shown.out
    assert main(["--install-completion"]) == 0
    assert f"{shell} completion installed" in capsys.readouterr().out
    assert any("_DISTILNLP_COMPLETE" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_shell_completes_options_and_recipes(monkeypatch, capsys):
    monkeypatch.setenv("_DISTILNLP_COMPLETE", "complete_bash")
    for words, expected in (("run glue/mr", "glue/mrpc"), ("distill --teacher-c", "--teacher-column")):
        monkeypatch.setenv("COMP_WORDS", f"distilnlp {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        assert main([]) == 0
        assert expected in capsys.readouterr().out.split()
