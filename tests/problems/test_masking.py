"""Which words are hidden: whole ones, as many as the share, the same whenever the same numbers are given."""

import numpy as np
import pytest

from distilnlp.errors import RequestError
from distilnlp.problems import IGNORED
from distilnlp.problems.masking import Masking
from tests.tiny import VOCAB, tiny_tokenizer

MASK, UNKNOWN = VOCAB.index("[MASK]"), VOCAB.index("[UNK]")
IDS = np.array([2, *range(5, 45), 3])
WORDS = np.array([-1, *np.arange(40) // 2, -1])  # twenty words of two pieces


def masking(share: float = 0.15) -> Masking:
    return Masking.of(tiny_tokenizer(), share)


def test_words_are_hidden_whole_and_as_many_as_the_share() -> None:
    seen, labels = masking().draw(IDS, WORDS, [0, 1], plain=True)
    hidden = labels != IGNORED
    assert hidden.sum() == 6 == 0.15 * 40
    assert all(hidden[word == WORDS].all() for word in np.unique(WORDS[hidden]))
    assert (seen[hidden] == MASK).all() and (labels[hidden] == IDS[hidden]).all()
    assert (seen[~hidden] == IDS[~hidden]).all() and not hidden[[0, -1]].any()


def test_the_same_numbers_hide_the_same_words_and_others_others() -> None:
    draws = [masking().draw(IDS, WORDS, numbers, plain=False)[1].tolist() for numbers in ([0, 1], [0, 1], [0, 2])]
    assert draws[0] == draws[1] != draws[2]
    other = np.where(IDS == 44, 5, IDS)
    assert masking().draw(other, WORDS, [0, 1], plain=True)[1].tolist() != draws[0]


def test_of_the_hidden_tokens_most_are_masked_some_stay_and_some_are_replaced() -> None:
    counts = np.zeros(3)
    for number in range(400):
        seen, labels = masking().draw(IDS, WORDS, [number], plain=False)
        hidden = labels != IGNORED
        masked, same = seen[hidden] == MASK, seen[hidden] == IDS[hidden]
        counts += [masked.sum(), same.sum(), (~masked & ~same).sum()]
        assert not np.isin(seen[hidden][~masked], tiny_tokenizer().all_special_ids).any()
    np.testing.assert_allclose(counts / counts.sum(), [0.8, 0.1, 0.1], atol=0.02)


def test_a_short_text_has_one_word_hidden() -> None:
    _, labels = masking().draw([2, 7, 8, 3], [-1, 0, 1, -1], [0], plain=True)
    assert (labels != IGNORED).sum() == 1


def test_what_is_in_no_vocabulary_is_hidden_only_where_nothing_else_is_there() -> None:
    for number in range(20):
        _, labels = masking(0.9).draw([UNKNOWN, 7], [0, 1], [number], plain=True)
        assert labels.tolist() == [IGNORED, 7]
    assert masking().draw([UNKNOWN], [0], [0], plain=True)[1].tolist() == [UNKNOWN]


def test_special_tokens_alone_have_nothing_to_hide() -> None:
    seen, labels = masking().draw([2, 3], [-1, -1], [0], plain=True)
    assert seen.tolist() == [2, 3] and labels.tolist() == [IGNORED, IGNORED]


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(RequestError, match="has no mask token"):
        Masking.of(tokenizer)


@pytest.mark.parametrize("share", [0, 1, True, "much"])
def test_a_share_that_is_none_is_refused(share: object) -> None:
    with pytest.raises(RequestError, match="mask_share"):
        Masking.of(tiny_tokenizer(), share)  # type: ignore[arg-type]


def test_the_vocabulary_is_read_where_a_token_is_replaced_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one takes a while, and held-out texts have no replaced tokens."""
    tokenizer, asked = tiny_tokenizer(), []
    vocabulary = tokenizer.get_vocab()
    monkeypatch.setattr(tokenizer, "get_vocab", lambda: asked.append(1) or vocabulary)
    drawn = Masking.of(tokenizer)
    drawn.draw(IDS, WORDS, [0], plain=True)
    assert not asked
    for number in range(40):
        drawn.draw(IDS, WORDS, [number], plain=False)
    assert len(asked) == 1
