"""An encoder that drops unimportant tokens from layer to layer, and the classifier of sentences on it.

The models whose heads read all tokens are in ltp.models.heads.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, A heads, L layers, C classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers import initialization as init

from ltp.common.errors import LTPError
from ltp.models import pruning as pruners
from ltp.models.configuration import LTPConfig
from ltp.models.embedding import embed
from ltp.models.encoder import Encoded, encode
from ltp.models.flops import Sizes
from ltp.models.layouts.registry import LAYOUTS, layout_class
from ltp.models.output import LTPOutput
from ltp.models.packing import PackedTokens, mean_of_tokens
from ltp.models.prepacked_linear import PrepackedWeights
from ltp.models.quantiles import Quantiles
from ltp.results.encoders import ENCODERS
from ltp.settings.pruning import SALIENCY, THRESHOLDS, PruningSettings, probe_shape

HALF = (torch.float16, torch.bfloat16)


class LTPPreTrainedModel(PreTrainedModel):
    """A Hugging Face model with learned token pruning: all but its head's forward pass.

    ltp.models.layouts has the architectures.

    Differences from the base model: the encoder runs on packed tokens; every layer scores its tokens, by the attention
    that they receive or as ltp.models.scores has it, and drops those that its rule rejects, before the feed-forward;
    ``threshold_deltas`` (L,) is what learning adds to the configured thresholds, and the buffer ``saliency_probes``
    (L, H + 1) what the score ``saliency`` predicts with. Modules and weights keep the base model's names.

    Without pruning it gives the base model's answers, with one exception by design: a position counts the tokens before
    it, so padding on either side, or holes in the attention mask, leave a sentence's answer as it is without them.
    Hugging Face's BERT numbers positions from the left end of the row, masked or not, and its RoBERTa skips padding ids
    but not what the mask alone excludes: they answer otherwise for such masks.

    Hooks on embeddings, linear layers, activations, LayerNorms, the output and intermediate blocks and the classifier
    run. The encoder's loop and its attention are this class's own, so hooks on the modules ``encoder``, ``layer[i]``,
    ``attention`` and ``attention.self`` do not.
    """

    config_class = LTPConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    base_models: ClassVar[Mapping[str, type[PreTrainedModel]]]  # base_model_type -> the library's class
    every_token: ClassVar[bool] = False  # whether every token has an answer of its own
    # Differences between neighbouring layers' thresholds, and between scores, are finer than 16 bits resolve.
    _keep_in_fp32_modules_strict = {THRESHOLDS, SALIENCY}  # noqa: RUF012 (as the library declares it)

    def __init__(self, config: LTPConfig):
        super().__init__(config)
        self.layout = layout_class(config.base_model_type)(config)
        base = self.base_class(config.base_model_type)(config.base_config())
        for name, module in base.named_children():
            self.add_module(name, module)
        self.num_labels = config.num_labels
        self.layers = config.num_hidden_layers
        self.heads = config.num_attention_heads
        config.pruning()
        if config.prune_mode == "absolute_threshold":
            self.threshold_deltas = nn.Parameter(self._initial_thresholds())
        if config.scoring_mode == "saliency":
            self.register_buffer(SALIENCY, self._initial_probes())
        self.soft_temperature: float | None = None
        self.trained_shares: Sequence[float] | None = None
        self.prepacked = PrepackedWeights()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # What a checkpoint lacks comes back from `from_pretrained` as uninitialised memory, unless it is set here.
        super()._init_weights(module)
        if module is not self:
            self.layout.init_buffers(module)
            return
        if self.config.prune_mode == "absolute_threshold":
            init.copy_(self.threshold_deltas, self._initial_thresholds())
        if hasattr(self, SALIENCY):
            init.zeros_(self.saliency_probes)

    @classmethod
    def base_class(cls, model_type: str) -> type[PreTrainedModel]:
        """The library's class with the same head; LTPError where there is none here for the architecture."""
        if model_type not in cls.base_models:
            raise LTPError(
                f"model_type: {model_type!r} has no head here for {cls.__name__.removeprefix('LTPFor')}; expected one "
                f"of {', '.join(sorted(cls.base_models))}: choose a checkpoint of such an encoder"
            )
        return cls.base_models[model_type]

    @property
    def first_only(self) -> bool:
        """Whether the head reads each sentence's first token only."""
        return not (self.every_token or self.layout.reads_all)

    @property
    def sizes(self) -> Sizes:
        """What the cost of the layers depends on."""
        return replace(self.layout.sizes, reads_all=not self.first_only)

    @classmethod
    def from_base(cls, base: PreTrainedModel, pruning: PruningSettings) -> Self:
        """Wrap a Hugging Face model with the same head; the weights are shared, not copied.

        Raises LTPError for an architecture without an adapter.
        """
        with torch.device("meta"):
            model = cls(LTPConfig.from_base(base.config, pruning))
        for name, module in base.named_children():
            model.add_module(name, module)
        if hasattr(model, "threshold_deltas"):
            model.threshold_deltas = nn.Parameter(model._initial_thresholds().to(base.device))
        if hasattr(model, SALIENCY):
            model.saliency_probes = model._initial_probes().to(base.device)
        return model.train(base.training)

    def to_base(self) -> PreTrainedModel:
        """A plain Hugging Face model with the same head, without pruning; the weights are shared, not copied."""
        config = self.config.base_config()
        with torch.device("meta"):
            base = self.base_class(self.config.base_model_type)(config)
        for name, _ in list(base.named_children()):
            base.add_module(name, getattr(self, name))
        return base.train(self.training)

    @property
    def encoder(self) -> nn.Module:
        """The base encoder: embeddings and layers, and BERT's pooler."""
        return getattr(self, self.layout.encoder_name)

    def _initial_thresholds(self) -> Tensor:
        return torch.tensor(self.config.pruning().initial_thresholds(self.layers))

    def _initial_probes(self) -> Tensor:
        return torch.zeros(probe_shape(self.layers, self.config.hidden_size))

    def thresholds(self) -> Tensor | None:
        """(L,) the current thresholds, learned part included; None for a mode without thresholds.

        θ_l = final_token_threshold · l/L + δ_l, l from 1 (the original's README; its code counts from 0). With scores
        relative to the sentence (``scoring_mode`` other than mean), θ_l = δ_l.
        """
        mode, final = self.config.prune_mode, self.config.final_token_threshold
        if mode == "absolute_threshold":
            return self._configured_thresholds() + self.threshold_deltas
        if mode == "rising_threshold":
            return torch.tensor(pruners.rising(final, self.layers))
        if mode == "threshold":
            return torch.full((self.layers,), final)
        return None

    @torch.no_grad()
    def set_thresholds(self, thresholds: Sequence[float]) -> None:
        """Make these (L,) the current thresholds; for the mode ``absolute_threshold``."""
        wanted = torch.tensor(thresholds, device=self.threshold_deltas.device)
        self.threshold_deltas.copy_(wanted - self._configured_thresholds())

    def _configured_thresholds(self) -> Tensor:
        """(L,) what ``threshold_deltas`` is added to."""
        final = 0.0 if self.config.pruning().is_relative else self.config.final_token_threshold
        return torch.tensor(pruners.rising(final, self.layers), device=self.threshold_deltas.device)

    def rule(self) -> pruners.Rule:
        """How each layer prunes with the current thresholds or keep rates, or by :meth:`train_on_shares`."""
        config = self.config
        shares = self.trained_shares if self.training else None
        if config.prune_mode == "topk":
            rates = shares or config.token_keep_rates or pruners.topk_keep_rates(self.layers, config.token_keep_rate)
            return pruners.Rule("topk", keep_rates=rates)
        if shares is not None:
            return Quantiles(config.pruning(), self.heads, shares)
        thresholds = self.thresholds()
        if config.prune_mode == "absolute_threshold" and config.pruning().is_relative:
            return pruners.Rule("absolute_threshold", thresholds.tolist(), centred=True)
        if config.prune_mode == "absolute_threshold":
            return pruners.Rule.absolute(thresholds.tolist(), self.heads, config.score_length)
        return pruners.Rule(config.prune_mode, [] if thresholds is None else thresholds.tolist())

    def decides_by_attention(self) -> list[bool]:
        """(L,) whether a layer's decision needs the attention of all its tokens, as no prediction from states does."""
        rule, predicted = self.rule(), hasattr(self, SALIENCY)
        return [rule.needs_scores(layer) and not predicted for layer in range(self.layers)]

    @contextmanager
    def evaluating(self, rule: pruners.Rule | None = None) -> Iterator[None]:
        """In evaluation mode for a while, and pruning by another ``rule`` if one is given."""
        training = self.training
        self.eval()
        if rule is not None:
            # The instance's own hides the class's method until it is deleted below.
            self.rule = lambda: rule  # type: ignore[method-assign]
        try:
            yield
        finally:
            self.__dict__.pop("rule", None)
            self.train(training)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module's; also drops the prepacked weights."""
        self.prepacked.clear()
        return super().train(mode)

    def _apply(self, *arguments, **options):
        self.prepacked.clear()  # the weights move, or change their precision
        deltas = getattr(self, "threshold_deltas", None)
        exact = None if deltas is None else deltas.detach().clone()
        buffers = [(module, dict(module._buffers)) for module in self.modules() if module._buffers]
        super()._apply(*arguments, **options)
        if exact is not None and self.threshold_deltas.dtype in HALF:
            # Thresholds of neighbouring layers differ by less than 16 bits resolve.
            self.threshold_deltas.data = exact.to(self.threshold_deltas.device)
        for module, before in buffers:
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.dtype in HALF:  # frequencies of rotary positions: as above
                    module._buffers[name] = before[name].to(buffer.device)
        return self

    def use_soft_masks(self, temperature: float | None) -> None:
        """Train with σ((score − θ)/temperature) instead of removal; None ends it. Evaluation always removes.

        Raises LTPError where the score is another than the paper's.
        """
        if temperature is not None and self.config.pruning().is_relative:
            raise LTPError(f"scoring_mode: {self.config.scoring_mode} has no soft masks; expected mean")
        if temperature is not None and not ENCODERS[self.config.base_model_type].soft_masks:
            raise LTPError(
                f"stage soft: {self.config.base_model_type} normalises what enters each layer, which undoes soft "
                "masks; set a FLOPs target, with another scoring_mode than mean"
            )
        self.soft_temperature = temperature

    def train_on_shares(self, shares: Sequence[float] | None) -> None:
        """While training, let each layer keep ``shares`` (L,) of each batch's tokens, or in top-k of each sentence's.

        None: what the thresholds or the keep rates of the configuration keep.
        """
        self.trained_shares = shares

    def _encode(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None, return_kept: bool
    ) -> tuple[Encoded, Tensor]:
        """Run padded sentences (B, N) through the encoder; with it each token's index (T,) into B·N.

        No sentences (B = 0) give outputs of that size. Raises LTPError for a sentence without tokens.
        """
        if input_ids.shape[0] == 0:
            return self._encode_nothing(input_ids, return_kept)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        tokens = embed(self.layout, self.encoder, input_ids, attention_mask, token_type_ids)
        indices = tokens.indices
        assert indices is not None  # those that were just embedded have them
        if not return_kept:
            tokens.indices = None
        return encode(self, tokens, input_ids.numel() if return_kept else None), indices

    def _encode_nothing(self, input_ids: Tensor, return_kept: bool) -> tuple[Encoded, Tensor]:
        words = self.layout.word_embeddings(self.encoder).weight  # for their precision and place
        hidden = words.new_zeros(0, self.config.hidden_size)
        no_tokens, counts = input_ids.new_zeros(0), input_ids.new_zeros(0, self.layers)
        soft = self.training and self.soft_temperature is not None
        return Encoded(
            PackedTokens(hidden, no_tokens, no_tokens), counts, counts, no_tokens if return_kept else None,
            hidden.new_zeros(()) if soft else None, hidden if self.every_token else None,
        ), no_tokens  # fmt: skip

    @staticmethod
    def _counts(encoded: Encoded, input_ids: Tensor) -> dict[str, Tensor | None]:
        """What the outputs of all models say beside loss and logits."""
        return {
            "attention_tokens": encoded.attention_tokens,
            "ffn_tokens": encoded.ffn_tokens,
            "regulariser": encoded.regulariser,
            "kept": None if encoded.kept is None else encoded.kept.view_as(input_ids),
        }


class LTPForSequenceClassification(LTPPreTrainedModel):
    """A Hugging Face classifier of sentences with learned token pruning."""

    base_models: ClassVar = {kind: layout.model_class for kind, layout in LAYOUTS.items()}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_kept: bool = False,
        return_dict: bool | None = None,
    ) -> LTPOutput:
        """Classify padded sentences (B, N); ``labels`` (B,) adds the loss, ``return_kept`` each token's layers.

        No sentences (B = 0) give outputs of that size; the loss, a mean of nothing, is NaN, as torch has it. Raises
        LTPError for a sentence without tokens, and where ``return_dict``, which libraries pass, asks for a tuple.
        """
        if return_dict is False:
            raise LTPError("return_dict: False asks for a tuple; expected True, this model gives its outputs by name")
        encoded, _ = self._encode(input_ids, attention_mask, token_type_ids, return_kept)
        pooled = mean_of_tokens(encoded.tokens) if self.layout.reads_all else encoded.tokens.hidden
        logits = self.layout.classify(self, pooled)
        loss = None if labels is None else self._loss(logits, labels)
        return LTPOutput(loss=loss, logits=logits, **self._counts(encoded, input_ids))

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.num_labels == 1:
            return functional.mse_loss(logits.view(-1), labels.view(-1).to(logits.dtype))
        return functional.cross_entropy(logits, labels.view(-1))


AutoConfig.register("ltp", LTPConfig, exist_ok=True)
AutoModelForSequenceClassification.register(LTPConfig, LTPForSequenceClassification, exist_ok=True)
# The models on this base class are registered with it, whichever module is imported first. `import ltp` itself cannot
# import them: `import transformers` above calls it back before the base class is there.
importlib.import_module("ltp.models.heads")
