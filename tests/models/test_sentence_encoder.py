"""A model that gives a vector a text, the same as sentence-transformers and plain transformers make of its folder."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from distilnlp.errors import RequestError
from distilnlp.models.encoder import base_model, count_parameters, embeddings, layer_prefix
from distilnlp.models.sentence_encoder import SENTENCE, SentenceEncoder
from distilnlp.models.sentence_modules import DenseSpec, SentenceModules
from distilnlp.problems import problem_of_config
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

TEXTS = ["the film was great", "a book", "we saw the dull meal on it and they was quite good"]
PLAIN = SentenceModules(("mean",), max_tokens=64)
PROJECTED = SentenceModules(("mean",), (DenseSpec(32, 12),), normalize=True, max_tokens=64)


def tiny_encoder(kind: str = "bert", modules: SentenceModules = PLAIN, seed: int = 0) -> SentenceEncoder:
    config = tiny_model(kind).config
    config.problem_type = "sentence_embedding"
    setattr(config, SENTENCE, modules.to_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SentenceEncoder(config).eval()


@torch.no_grad()
def vectors(model: SentenceEncoder, texts: list[str] = TEXTS) -> torch.Tensor:
    batch = tiny_tokenizer()(texts, padding=True, return_tensors="pt")
    found = model(**batch).logits
    assert found is not None
    return found


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("modules", [PLAIN, PROJECTED], ids=["pooled", "projected and normalised"])
def test_sentence_transformers_makes_the_same_vectors_of_its_folder(
    kind: str, modules: SentenceModules, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model = tiny_encoder(kind, modules)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True)
    torch.testing.assert_close(theirs.encode(TEXTS, convert_to_tensor=True), vectors(model))
    assert theirs.get_max_seq_length() == 64


@pytest.mark.parametrize("kind", BACKBONES)
def test_plain_transformers_loads_the_encoder_of_its_folder(kind: str, tmp_path: Path) -> None:
    model = tiny_encoder(kind)
    model.save_pretrained(tmp_path)
    plain, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    batch = tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")
    read = {
        name: each
        for name, each in batch.items()
        if name != "token_type_ids" or kind not in ("distilbert", "modernbert")
    }
    with torch.no_grad():
        states, mask = plain.eval()(**read).last_hidden_state, batch["attention_mask"][..., None]
    torch.testing.assert_close((states * mask).sum(dim=1) / mask.sum(dim=1), vectors(model))


def test_its_layers_and_embeddings_are_found_as_in_any_model_with_a_head() -> None:
    model, head = tiny_encoder(), tiny_model("bert")
    assert layer_prefix(model) == layer_prefix(head) == "bert.encoder.layer"
    assert type(embeddings(model)) is type(embeddings(head)) and base_model(model) is model
    assert count_parameters(model)[1] == count_parameters(model.bert)[1]  # type: ignore[arg-type]


def test_a_switch_of_the_attention_function_reaches_the_encoder() -> None:
    model = tiny_encoder()
    model.set_attn_implementation("eager")
    assert model.bert.config._attn_implementation == "eager"  # type: ignore[union-attr]


def test_normalised_vectors_have_length_one_and_others_have_the_width_that_is_said() -> None:
    found = vectors(tiny_encoder(modules=PROJECTED))
    assert found.shape == (3, 12)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    model = tiny_encoder(modules=PROJECTED)
    assert model.dimension == 12 == problem_of_config(model.config).head_size(model.config)
    plain = tiny_encoder(modules=SentenceModules(("cls", "max")))
    assert plain.dimension == 64 == problem_of_config(plain.config).head_size(plain.config)


def test_padding_changes_no_vector() -> None:
    model = tiny_encoder(modules=PROJECTED)
    torch.testing.assert_close(vectors(model)[1], vectors(model, TEXTS[1:2])[0])


def test_a_config_that_does_not_say_how_is_refused() -> None:
    with pytest.raises(RequestError, match="pooling: mean"):
        SentenceEncoder(tiny_model("bert").config)


def test_the_folder_says_it_in_modules_json_alone(tmp_path: Path) -> None:
    model = tiny_encoder()
    model.save_pretrained(tmp_path)
    assert SENTENCE not in (tmp_path / "config.json").read_text()
    assert getattr(model.config, SENTENCE) == PLAIN.to_dict()


def test_reduced_vectors_keep_the_cosines_that_so_many_numbers_can() -> None:
    """Vectors that lie in a plane keep all of them in two numbers."""
    model = tiny_encoder(modules=SentenceModules(("mean",), (DenseSpec(32, 2), DenseSpec(2, 6, bias=False)), True))
    own = vectors(model)
    shorter = vectors(model.reduced(own, 2))
    assert shorter.shape == (3, 2)
    torch.testing.assert_close(shorter @ shorter.T, own @ own.T, atol=1e-4, rtol=1e-4)


def test_vectors_are_reduced_the_same_way_each_time_and_the_model_stays_as_it_is() -> None:
    model = tiny_encoder()
    before, own = vectors(model), torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    first, second = (vectors(model.reduced(own, 4)) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(vectors(model), before)


@pytest.mark.parametrize(
    ("texts", "dimension", "said"), [(50, 32, "from 1 to 31"), (50, 0, "from 1"), (3, 4, "3 texts")]
)
def test_a_dimension_that_cannot_be_is_refused(texts: int, dimension: int, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        tiny_encoder().reduced(torch.randn(texts, 32), dimension)


@pytest.mark.slow
def test_the_packaged_minilm_gives_the_vectors_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    from distilnlp.models.loading import MINILM, resolve_model
    from distilnlp.models.predictor import Predictor

    texts = ["A man plays the guitar.", "word " * 400, "Someone makes music."]  # the second is cut, at 256 tokens
    theirs = SentenceTransformer(resolve_model(MINILM), device="cpu", local_files_only=True).encode(texts)
    ours = Predictor.load(MINILM, device=torch.device("cpu")).logits(texts)
    torch.testing.assert_close(torch.from_numpy(ours), torch.from_numpy(theirs), atol=1e-6, rtol=0)
