"""What a folder of sentence-transformers says of its vectors: what is read of it, what is refused, what is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from distilnlp.errors import RequestError
from distilnlp.models.sentence_modules import (
    POOLINGS,
    DenseSpec,
    SentenceModules,
    dense_weights,
    pool_tokens,
    read_modules,
    write_modules,
)

ALL = SentenceModules(("cls", "mean"), (DenseSpec(64, 16), DenseSpec(16, 8, bias=False, residual=True)), True, 48)


def weights(modules: SentenceModules) -> list[dict[str, torch.Tensor]]:
    return [
        {
            "linear.weight": torch.ones(each.out_features, each.in_features),
            **({"linear.bias": torch.zeros(each.out_features)} if each.bias else {}),
            **({"residual.weight": torch.ones(each.out_features, each.in_features)} if each.residual else {}),
        }
        for each in modules.dense
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_modules(tmp_path, ALL, 32, weights(ALL))
    return tmp_path


def test_what_is_written_is_read_again(folder: Path) -> None:
    assert read_modules(folder, 32) == ALL
    assert [sorted(each) for each in dense_weights(folder)] == [
        ["linear.bias", "linear.weight"],
        ["linear.weight", "residual.weight"],
    ]


@pytest.mark.parametrize("pooling", [*((name,) for name in POOLINGS), ("mean", "cls")])
def test_every_pooling_survives_the_folder_in_its_order(tmp_path: Path, pooling: tuple[str, ...]) -> None:
    write_modules(tmp_path, SentenceModules(pooling), 32, [])
    assert read_modules(tmp_path, 32) == SentenceModules(pooling)


def test_a_folder_without_modules_is_that_of_a_bare_encoder(tmp_path: Path) -> None:
    assert read_modules(tmp_path, 32) is None


def test_as_plain_values_they_stay_the_same() -> None:
    assert SentenceModules.from_dict(json.loads(json.dumps(ALL.to_dict()))) == ALL


def test_the_width_of_a_vector_is_that_of_the_last_linear_map_or_of_the_poolings_together() -> None:
    assert ALL.width(32) == 8 and SentenceModules(("cls", "mean")).width(32) == 64
    assert ALL.projected(32, 20).width(32) == 20


def changed(file: str, change: Callable[[object], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return apply


def with_module(kind: str, place: int = 4) -> Callable[[Path], None]:
    return changed("modules.json", lambda listed: [*listed[:place], {"idx": place, "path": "x", "type": kind}])


def pickled(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")


def cut_off(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"\x10")


REFUSED = {
    "code of the folder's own": (with_module("custom_st.Transformer"), "code of its own and never run"),
    "a module that is not known": (with_module("sentence_transformers.models.LSTM"), "LSTM in place 4"),
    "no pooling": (with_module("sentence_transformers.models.Normalize", 1), "a Transformer and a Pooling"),
    "a folder elsewhere": (
        changed("modules.json", lambda listed: [{**listed[0]}, {**listed[1], "path": "../1_Pooling"}]),
        "a folder beside it",
    ),
    "a mapping for a list": (changed("modules.json", lambda listed: {}), "not a list"),
    "an unknown pooling": (
        changed("1_Pooling/config.json", lambda _: {"pooling_mode": "meen"}),
        "did you mean 'mean'",
    ),
    "an unknown pooling's flag": (
        changed("1_Pooling/config.json", lambda _: {"pooling_mode_median_tokens": True}),
        "unknown pooling 'median_tokens'",
    ),
    "another width": (
        changed("1_Pooling/config.json", lambda raw: {**raw, "word_embedding_dimension": 64}),
        "pools vectors of 64 numbers and the encoder gives 32",
    ),
    "a Dense of another width": (
        changed("2_Dense/config.json", lambda raw: {**raw, "in_features": 63}),
        "63 numbers and gets 64",
    ),
    "an activation that is code": (
        changed("2_Dense/config.json", lambda raw: {**raw, "activation_function": "os.system"}),
        "'os.system', which is not run",
    ),
    "a prompt before every text": (
        changed("config_sentence_transformers.json", lambda raw: {**raw, "default_prompt_name": "query"}),
        "puts the prompt 'query'",
    ),
    "letters made small by nobody's tokenizer": (
        changed("sentence_bert_config.json", lambda raw: {**raw, "do_lower_case": True}),
        "do_lower_case",
    ),
    "a length that is none": (
        changed("sentence_bert_config.json", lambda raw: {**raw, "max_seq_length": 0}),
        "max_seq_length 0",
    ),
}


@pytest.mark.parametrize(("break_it", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_told_with_its_file(folder: Path, break_it: Callable[[Path], None], said: str) -> None:
    break_it(folder)
    with pytest.raises(RequestError, match=said) as error:
        read_modules(folder, 32)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("break_it", "said"), [(pickled, "can run code"), (cut_off, "is damaged")])
def test_weights_of_a_linear_map_that_cannot_be_had_are_told(
    folder: Path, break_it: Callable[[Path], None], said: str
) -> None:
    break_it(folder)
    with pytest.raises(RequestError, match=said):
        dense_weights(folder)


def test_an_unknown_pooling_of_the_users_is_told_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'mean'"):
        SentenceModules(("meann",))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_tokens_are_pooled_as_sentence_transformers_pools_them(pooling: str, side: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    mask = mask.flip(1) if side == "left" else mask
    expected = Pooling(4, pooling)({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]
    torch.testing.assert_close(pool_tokens(states, mask, (pooling,)), expected)


def test_what_stands_in_padding_changes_no_vector() -> None:
    states = torch.ones(1, 3, 2)
    states[0, 2] = torch.nan
    mask = torch.tensor([[1, 1, 0]])
    assert torch.isfinite(pool_tokens(states, mask, ("cls", "mean", "mean_sqrt_len_tokens", "weightedmean"))).all()


def test_a_pair_of_modules_without_weights_is_not_written_half(tmp_path: Path) -> None:
    """modules.json comes last: a folder without it is a bare encoder's, and not a sentence encoder that is damaged."""
    with pytest.raises(KeyError):
        write_modules(tmp_path, ALL, 32, Broken())  # type: ignore[arg-type]
    assert not (tmp_path / "modules.json").exists()


class Broken(list[object]):
    def __iter__(self):  # type: ignore[no-untyped-def]
        raise KeyError("no weights")


def test_the_weights_are_those_that_sentence_transformers_reads(folder: Path) -> None:
    save_file(
        {"linear.weight": torch.full((16, 64), 2.0), "linear.bias": torch.zeros(16)},
        folder / "2_Dense/model.safetensors",
    )
    assert float(dense_weights(folder)[0]["linear.weight"].mean()) == 2.0
