"""Word embeddings without the rows that the training text lacks: trained alike, and whole again afterwards."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from helpers import tiny
from helpers.trainers import dataset, make_trainer

from ltp.models.modeling import LTPForSequenceClassification
from ltp.training.vocabulary import only_seen_words, seen_ids


def pruning_model(kind: str) -> LTPForSequenceClassification:
    return LTPForSequenceClassification.from_base(tiny.base_model(kind), tiny.PRUNING["threshold"])


def words_of(model: LTPForSequenceClassification) -> torch.nn.Embedding:
    return model.layout.word_embeddings(model.encoder)


@pytest.mark.parametrize("kind", [*tiny.KINDS, *tiny.ALIKE])
def test_the_training_is_that_of_the_whole_vocabulary(kind, tmp_path):
    """Every weight takes the same course; rows that are not in the text stay as they were, to the last bit."""
    data = dataset()
    seen = set().union(*data["input_ids"])
    assert seen_ids(data) == seen_ids(data.select([1, 0]).select(range(2))) | seen_ids(data.select(range(2, 8))) == seen
    assert 10 < len(seen) < tiny.VOCABULARY - 10
    trained = {}
    for way in ("whole", "seen"):
        model = pruning_model(kind)
        before = words_of(model).weight.detach().clone()
        trainer = make_trainer(model, tmp_path / way, data=data, epochs=3)
        with nullcontext() if way == "whole" else only_seen_words(model, seen_ids(data), 0.0):
            assert len(words_of(model).weight) == (tiny.VOCABULARY if way == "whole" else len(seen))
            trainer.train()
        trained[way] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        after = words_of(model).weight
        moved = (after != before).any(1)
        assert set(moved.nonzero().flatten().tolist()) == seen
        assert after.requires_grad and words_of(model).num_embeddings == len(after) == tiny.VOCABULARY
    assert trained["whole"].keys() == trained["seen"].keys()
    for name, tensor in trained["whole"].items():
        torch.testing.assert_close(
            trained["seen"][name], tensor, rtol=0, atol=2e-5, msg=lambda text, at=name: at + text
        )


def test_inside_the_model_answers_as_outside():
    model, data = pruning_model("roberta"), dataset()
    inputs = tiny.batch([torch.tensor(row) for row in data["input_ids"]])
    with torch.inference_mode():
        expected = model(**inputs).logits
        with only_seen_words(model, seen_ids(data), 0.0):
            torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=0)
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=0)


def test_a_text_that_names_the_padding_leaves_it_untrained(tmp_path):
    """As torch.nn.Embedding does."""
    model, data = pruning_model("bert"), dataset()
    padding = words_of(model).padding_idx
    assert padding == 0
    data = data.map(lambda row: {"input_ids": [2, 0, *row["input_ids"][2:]]})
    before = words_of(model).weight.detach().clone()
    trainer = make_trainer(model, tmp_path, data=data, epochs=2)
    with only_seen_words(model, seen_ids(data), 0.0):
        trainer.train()
    after = words_of(model)
    assert after.padding_idx == padding
    assert torch.equal(after.weight[0], before[0]) and not torch.equal(after.weight[2], before[2])


@pytest.mark.parametrize(("frozen", "weight_decay"), [(False, 0.1), (True, 0.0)])
def test_what_moves_all_rows_or_none_keeps_the_vocabulary_whole(frozen, weight_decay):
    model = pruning_model("bert")
    words_of(model).weight.requires_grad_(not frozen)
    with only_seen_words(model, {2, 3}, weight_decay):
        assert len(words_of(model).weight) == tiny.VOCABULARY


def test_the_vocabulary_comes_back_from_a_training_that_failed():
    model = pruning_model("bert")
    with pytest.raises(RuntimeError, match="gone"), only_seen_words(model, {2, 3}, 0.0):
        raise RuntimeError("gone")
    assert len(words_of(model).weight) == tiny.VOCABULARY
    assert model(**tiny.batch(tiny.sentences([5]))).logits.shape == (1, 3)
