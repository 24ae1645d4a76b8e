"""The model and its base: saved, loaded, converted back; what is refused."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from transformers import MPNetConfig, MPNetForSequenceClassification

from ltp.common.errors import LTPError
from ltp.models.configuration import LTPConfig
from ltp.models.layouts.registry import LAYOUTS
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.encoders import ENCODERS
from ltp.settings.pruning import PruningSettings

PRUNE_MODES = list(tiny.PRUNING)
LENGTHS = [13, 4, 9, 2, 7]


def kinds(function):
    return pytest.mark.parametrize("kind", tiny.KINDS)(function)


def all_kinds(function):
    return pytest.mark.parametrize("kind", (*tiny.KINDS, *tiny.ALIKE))(function)


@kinds
@pytest.mark.parametrize("mode", PRUNE_MODES)
def test_saved_and_loaded_again(kind, mode, tmp_path):
    """Learned thresholds included, and whatever class loads it: see test_loading.py."""
    model, batch = tiny.pruning_model(kind, mode).float(), tiny.batch(tiny.sentences(LENGTHS))
    if mode == "absolute_threshold":
        model.threshold_deltas.data = torch.tensor([0.01, -0.002, 0.003, -0.004])
    model.save_pretrained(tmp_path)
    loaded = LTPForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        found, expected = loaded(**batch, return_kept=True), model(**batch, return_kept=True)
    assert torch.equal(found.logits, expected.logits) and torch.equal(found.kept, expected.kept)
    assert loaded.config.pruning() == model.config.pruning() == tiny.PRUNING[mode]
    assert {name: value.dtype for name, value in loaded.state_dict().items()} == {
        name: value.dtype for name, value in model.state_dict().items()
    }
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


@all_kinds
def test_a_checkpoint_without_thresholds_starts_them_at_zero(kind, tmp_path):
    """A base checkpoint read straight into the class: what is missing must not be uninitialised memory."""
    base, batch = tiny.base_model(kind), tiny.batch(tiny.sentences(LENGTHS))
    base.save_pretrained(tmp_path)
    config = LTPConfig.from_base(base.config, PruningSettings(final_token_threshold=0.0))
    loaded = LTPForSequenceClassification.from_pretrained(tmp_path, config=config)
    assert loaded.threshold_deltas.tolist() == [0.0] * 4
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, base(**batch).logits, atol=1e-5, rtol=0)


@all_kinds
def test_to_the_base_class_and_back_shares_the_weights(kind):
    base = tiny.base_model(kind)
    model = LTPForSequenceClassification.from_base(base, tiny.PRUNING["absolute_threshold"])
    again = model.to_base()
    assert type(again) is type(base) and again.training is base.training
    ours, back = dict(model.named_parameters()), dict(again.named_parameters())
    for name, weight in base.named_parameters():
        assert weight.data_ptr() == ours[name].data_ptr() == back[name].data_ptr()
    assert set(ours) - set(back) == {"threshold_deltas"} and set(back) == {name for name, _ in base.named_parameters()}
    batch = tiny.batch(tiny.sentences(LENGTHS))
    with torch.no_grad():
        assert torch.equal(base(**batch).logits, again(**batch).logits)
    unlike = {key for key, value in base.config.to_dict().items() if again.config.to_dict().get(key) != value}
    assert unlike <= {"architectures", "dtype", "transformers_version"}


@kinds
@pytest.mark.parametrize("size", ["base", "large"])
def test_full_size_encoders_have_the_base_model_s_weights_and_thresholds(kind, size):
    """Built without memory: names and shapes are those of Hugging Face's own class."""
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    places = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1} if kind == "roberta" else {}
    sizes = {ENCODERS[kind].key(name): value for name, value in large.items()} if size == "large" else {}
    config = LAYOUTS[kind].config_class(**places, **sizes)
    with torch.device("meta"):
        model = LTPForSequenceClassification(LTPConfig.from_base(config, PruningSettings()))
        base = LAYOUTS[kind].model_class(config)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert shapes.pop("threshold_deltas") == (24 if size == "large" else config.num_hidden_layers,)
    assert shapes == {name: tuple(weight.shape) for name, weight in base.named_parameters()}
    assert all(weight.is_meta for weight in model.parameters())
    assert {name for name, _ in model.named_buffers()} == {name for name, _ in base.named_buffers()}


def test_a_foreign_architecture_is_refused_with_those_that_are_supported():
    config = MPNetConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    foreign = MPNetForSequenceClassification(config)
    with pytest.raises(LTPError) as caught:
        LTPForSequenceClassification.from_base(foreign, PruningSettings())
    message = "model_type: 'mpnet' is not supported; expected one of bert, camembert"
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    with pytest.raises(LTPError, match=message):
        LTPConfig(base_model_type="mpnet").base_config()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("prune_mode", "magic", "prune_mode: 'magic' is not one of none, absolute_threshold"),
        ("scoring_mode", "max", "scoring_mode: 'max' is not one of mean"),
        ("score_length", 0, "score_length: 0 is too small; expected at least 1"),
        ("final_token_threshold", 2.0, "final_token_threshold: 2.0 is too large; expected at most 1.0"),
        ("token_keep_rate", 1.5, "token_keep_rate: 1.5 is too large; expected at most 1.0"),
        ("token_keep_rate", float("nan"), "token_keep_rate: nan is not a finite number"),
    ],
)
def test_a_bad_pruning_key_in_a_config_is_named(key, value, message):
    config = LTPConfig.from_base(tiny.base_model("bert").config, PruningSettings())
    setattr(config, key, value)
    with pytest.raises(LTPError, match=message):
        LTPForSequenceClassification(config)
