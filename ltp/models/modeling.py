"""LTPForSequenceClassification: an encoder that drops unimportant tokens from layer to layer.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, A heads, L layers, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    PreTrainedModel,
    RobertaForSequenceClassification,
)
from transformers import initialization as init
from transformers.models.bert.modeling_bert import BertEmbeddings
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

from ltp.common.errors import LTPError
from ltp.models import pruning as pruners
from ltp.models.configuration import LTPConfig, require_supported
from ltp.models.embedding import embed
from ltp.models.encoder import encode
from ltp.models.output import LTPOutput
from ltp.models.prepacked_linear import PrepackedWeights
from ltp.models.quantiles import Quantiles
from ltp.settings.pruning import PruningSettings

BASE_MODELS = {"bert": BertForSequenceClassification, "roberta": RobertaForSequenceClassification}


class LTPForSequenceClassification(PreTrainedModel):
    """A Hugging Face BERT or RoBERTa classifier with learned token pruning.

    Differences from the base model: the encoder runs on packed tokens; every layer scores its tokens by the attention
    that they receive and drops those that its rule rejects, before the feed-forward; ``threshold_deltas`` (L,) is what
    learning adds to the configured thresholds. Modules and weights keep the base model's names.

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

    def __init__(self, config: LTPConfig):
        super().__init__(config)
        base = BASE_MODELS[config.base_model_type](config.base_config())
        for name, module in base.named_children():
            self.add_module(name, module)
        self.num_labels = config.num_labels
        self.layers = config.num_hidden_layers
        self.heads = config.num_attention_heads
        config.pruning()
        if config.prune_mode == "absolute_threshold":
            self.threshold_deltas = nn.Parameter(self._initial_thresholds())
        self.soft_temperature: float | None = None
        self.trained_shares: Sequence[float] | None = None
        self.prepacked = PrepackedWeights()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # What a checkpoint lacks comes back from `from_pretrained` as uninitialised memory, unless it is set here.
        super()._init_weights(module)
        if module is self and self.config.prune_mode == "absolute_threshold":
            init.copy_(self.threshold_deltas, self._initial_thresholds())
        elif isinstance(module, (BertEmbeddings, RobertaEmbeddings)):
            init.copy_(module.position_ids, torch.arange(module.position_ids.shape[-1])[None])
            init.zeros_(module.token_type_ids)

    @classmethod
    def from_base(cls, base: PreTrainedModel, pruning: PruningSettings) -> LTPForSequenceClassification:
        """Wrap a Hugging Face classifier; the weights are shared, not copied.

        Raises LTPError for an architecture without BERT's layer layout.
        """
        require_supported(base.config.model_type)
        with torch.device("meta"):
            model = cls(LTPConfig.from_base(base.config, pruning))
        for name, module in base.named_children():
            model.add_module(name, module)
        if hasattr(model, "threshold_deltas"):
            model.threshold_deltas = nn.Parameter(model._initial_thresholds().to(base.device))
        return model.train(base.training)

    def to_base(self) -> PreTrainedModel:
        """The encoder as a plain Hugging Face classifier, without pruning; the weights are shared, not copied."""
        config = self.config.base_config()
        with torch.device("meta"):
            base = BASE_MODELS[self.config.base_model_type](config)
        for name, _ in list(base.named_children()):
            base.add_module(name, getattr(self, name))
        return base.train(self.training)

    @property
    def encoder(self) -> nn.Module:
        """The base encoder: embeddings and layers, and BERT's pooler."""
        return getattr(self, self.config.base_model_type)

    def _initial_thresholds(self) -> Tensor:
        return torch.tensor(self.config.pruning().initial_thresholds(self.layers))

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

    def train(self, mode: bool = True) -> LTPForSequenceClassification:
        """As nn.Module's; also drops the prepacked weights."""
        self.prepacked.clear()
        return super().train(mode)

    def _apply(self, *arguments, **options):
        self.prepacked.clear()  # the weights move, or change their precision
        deltas = getattr(self, "threshold_deltas", None)
        exact = None if deltas is None else deltas.detach().clone()
        super()._apply(*arguments, **options)
        if exact is not None and self.threshold_deltas.dtype in (torch.float16, torch.bfloat16):
            # Thresholds of neighbouring layers differ by less than 16 bits resolve.
            self.threshold_deltas.data = exact.to(self.threshold_deltas.device)
        return self

    def use_soft_masks(self, temperature: float | None) -> None:
        """Train with σ((score − θ)/temperature) instead of removal; None ends it. Evaluation always removes.

        Raises LTPError where the score is another than the paper's.
        """
        if temperature is not None and self.config.pruning().is_relative:
            raise LTPError(f"scoring_mode: {self.config.scoring_mode} has no soft masks; expected mean")
        self.soft_temperature = temperature

    def train_on_shares(self, shares: Sequence[float] | None) -> None:
        """While training, let each layer keep ``shares`` (L,) of each batch's tokens, or in top-k of each sentence's.

        None: what the thresholds or the keep rates of the configuration keep.
        """
        self.trained_shares = shares

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

        No sentences (B = 0) give outputs of that size. Raises LTPError for a sentence without tokens, and where
        ``return_dict``, which libraries pass, asks for a tuple.
        """
        if return_dict is False:
            raise LTPError("return_dict: False asks for a tuple; expected True, this model gives its outputs by name")
        if input_ids.shape[0] == 0:
            return self._empty_output(input_ids, labels, return_kept)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        tokens = embed(self.encoder.embeddings, self.config, input_ids, attention_mask, token_type_ids)
        if not return_kept:
            tokens.indices = None
        encoded = encode(self, tokens, input_ids.numel() if return_kept else None)
        logits = self._classify(encoded.tokens.hidden)
        return LTPOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            attention_tokens=encoded.attention_tokens,
            ffn_tokens=encoded.ffn_tokens,
            regulariser=encoded.regulariser,
            kept=None if encoded.kept is None else encoded.kept.view_as(input_ids),
        )

    def _empty_output(self, input_ids: Tensor, labels: Tensor | None, return_kept: bool) -> LTPOutput:
        """The output for no sentences. The loss, a mean of nothing, is NaN, as torch has it."""
        no_tokens = self.encoder.embeddings.word_embeddings.weight[:0]  # (0, H), in the weights' precision and place
        logits = self._classify(no_tokens)
        counts = input_ids.new_zeros(0, self.layers)
        soft = self.training and self.soft_temperature is not None
        return LTPOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            attention_tokens=counts,
            ffn_tokens=counts,
            regulariser=logits.new_zeros(()) if soft else None,
            kept=torch.zeros_like(input_ids) if return_kept else None,
        )

    def _classify(self, first: Tensor) -> Tensor:
        """(B, H) first tokens -> (B, C) logits, by the base model's own head."""
        if self.config.base_model_type == "bert":
            return self.classifier(self.dropout(self.bert.pooler(first[:, None])))
        return self.classifier(first[:, None])

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.num_labels == 1:
            return functional.mse_loss(logits.view(-1), labels.view(-1).to(logits.dtype))
        return functional.cross_entropy(logits, labels.view(-1))


AutoConfig.register("ltp", LTPConfig, exist_ok=True)
AutoModelForSequenceClassification.register(LTPConfig, LTPForSequenceClassification, exist_ok=True)
