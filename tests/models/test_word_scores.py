"""What later layers look at, word by word: measured as it is defined, and what the model does with it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers import tiny
from safetensors.torch import load_file

from ltp.conversion.convert import convert
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.word_scores import UNSEEN, lacks_words, measure_words
from ltp.settings.pruning import KEEP_ALL, PruningSettings

LENGTHS = [13, 4, 9, 2, 7, 11]
LEXICAL = PruningSettings(scoring_mode="lexical")


def fresh(kind: str = "bert", **config) -> LTPForSequenceClassification:
    return LTPForSequenceClassification.from_base(tiny.base_model(kind, **config), LEXICAL)


def defined(base, rows) -> torch.Tensor:
    """The definition, one sentence at a time, from the attention that the Hugging Face model returns."""
    base.set_attn_implementation("eager")
    found: dict[int, list[float]] = {}
    for row in rows:
        attentions = base(row[None], output_attentions=True).attentions
        for attention in attentions[len(attentions) // 3 :]:
            received = attention[0].sum((0, 1))
            middle = received.sort().values[(len(row) - 1) // 2]
            for word, score in zip(row.tolist(), (received / middle).log().tolist(), strict=True):
                found.setdefault(word, []).append(score)
    layers = len(attentions) - len(attentions) // 3
    everything = [score for scores in found.values() for score in scores]
    mean = math.fsum(everything) / len(everything)
    table = torch.zeros(tiny.VOCABULARY)
    for word, scores in found.items():
        table[word] = (math.fsum(scores) / layers - mean * len(scores) / layers) / (len(scores) / layers + UNSEEN)
    return table


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert"])
@torch.no_grad()
def test_words_are_measured_as_defined(kind):
    """In any batches, with any padding; pruning plays no part, and the model is afterwards as it was."""
    rows = tiny.sentences(LENGTHS)
    expected = defined(tiny.base_model(kind), rows)
    assert expected.count_nonzero() > 15 and expected.std() > 0.05
    for pruned in (False, True):
        model = fresh(kind).train()
        assert lacks_words(model)
        if pruned:
            model.set_thresholds(tiny.RELATIVE_THRESHOLDS)
            model.word_scores.fill_(0.5)
        thresholds = model.thresholds()
        measure_words(model, [tiny.batch(rows[:2], extra=3), tiny.batch(rows[2:])])
        torch.testing.assert_close(model.word_scores, expected, atol=1e-5, rtol=1e-4)
        assert model.training and torch.equal(model.thresholds(), thresholds) and not lacks_words(model)
        assert "rule" not in vars(model)


def test_a_word_of_a_higher_score_stays_where_it_went():
    """Two tokens of the vocabulary that are embedded alike differ by their scores only."""
    model = fresh().eval()
    with torch.no_grad():
        words = model.bert.embeddings.word_embeddings.weight
        words[41] = words[40]
        model.set_thresholds([0.3, KEEP_ALL, KEEP_ALL, KEEP_ALL])
        row = torch.tensor([[2, 40, 17, 23, 8, 31, 5]])
        other = torch.where(row == 40, 41, row)
        assert torch.equal(model(row, return_kept=True).kept, model(other, return_kept=True).kept)
        for score, layers in ((-5.0, 0), (5.0, 4)):
            model.word_scores[41] = score
            assert model(other, return_kept=True).kept[0, 1] == layers
        assert model(row, return_kept=True).kept[0, 0] == 4


def test_they_are_saved_and_loaded_and_new_ones_are_zero(tmp_path):
    model = fresh()
    measure_words(model, [tiny.batch(tiny.sentences(LENGTHS))])
    model.save_pretrained(tmp_path)
    assert torch.equal(load_pruned(tmp_path).word_scores, model.word_scores)
    again = LTPForSequenceClassification.from_base(model.to_base(), LEXICAL)
    assert not again.word_scores.any() and lacks_words(again)
    assert not lacks_words(LTPForSequenceClassification.from_base(model.to_base(), PruningSettings()))
    assert "word_scores" not in model.to_base().state_dict()


def test_sixteen_bits_leave_them_and_thresholds_exact(tmp_path):
    """However the model comes to them."""
    model = tiny.scored_model("bert", "lexical").float()
    model.save_pretrained(tmp_path)
    loaded = LTPForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for found in (copy.deepcopy(model).to(torch.bfloat16), loaded):
        assert torch.equal(found.word_scores, model.word_scores)
        assert torch.equal(found.threshold_deltas, model.threshold_deltas)
        assert found.classifier.weight.dtype == torch.bfloat16
    batch = tiny.batch(tiny.sentences(LENGTHS))
    with torch.inference_mode():
        expected = copy.deepcopy(model).to(torch.bfloat16).eval()(**batch)
        assert torch.equal(loaded.eval()(**batch).ffn_tokens, expected.ffn_tokens)


def test_a_conversion_holds_words_that_are_yet_to_be_measured(tmp_path):
    base = tiny.base_model("roberta")
    base.save_pretrained(tmp_path / "base")
    (tmp_path / "base/tokenizer.json").write_text("{}")
    convert(tmp_path / "base", tmp_path / "converted", LEXICAL)
    assert load_file(tmp_path / "converted/model.safetensors")["word_scores"].tolist() == [0.0] * tiny.VOCABULARY
    assert lacks_words(load_pruned(tmp_path / "converted"))
