"""The models whose heads read every token: a label for each, or the first and the last token of an answer.

A token that is dropped keeps its last state and is put back at the end (see ltp.models.last_states), so that the head
sees all tokens. Importing this module registers all models of the type ``ltp`` with transformers.

Shapes: T tokens in the batch, B sentences, N longest sentence, C labels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    BertForQuestionAnswering,
    BertForTokenClassification,
    RobertaForQuestionAnswering,
    RobertaForTokenClassification,
)

from ltp.models.configuration import LTPConfig
from ltp.models.modeling import LTPPreTrainedModel
from ltp.models.output import LTPOutput, LTPSpanOutput

TOKEN_MODELS = {"bert": BertForTokenClassification, "roberta": RobertaForTokenClassification}
SPAN_MODELS = {"bert": BertForQuestionAnswering, "roberta": RobertaForQuestionAnswering}
IGNORED = -100  # the label of a token that is not scored
PADDING_LOGIT = -1e4  # of a place without a token: its probability is 0, and so is that times its logarithm


class LTPForTokenClassification(LTPPreTrainedModel):
    """A Hugging Face BERT or RoBERTa with a label for each token, and learned token pruning."""

    base_models = TOKEN_MODELS
    every_token = True

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_kept: bool = False,
    ) -> LTPOutput:
        """Label every token of padded sentences (B, N); arguments and errors as of the classifier of sentences.

        ``labels`` (B, N), IGNORED where there is none, add the loss, a mean over the labelled tokens.
        """
        encoded, indices = self._encode(input_ids, attention_mask, token_type_ids, return_kept)
        packed = self.classifier(self.dropout(encoded.states))  # (T, C)
        logits = _padded(packed, indices, input_ids, 0.0)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits.flatten(0, 1), labels.reshape(-1), ignore_index=IGNORED)
        return LTPOutput(loss=loss, logits=logits, **self._counts(encoded, input_ids))


class LTPForQuestionAnswering(LTPPreTrainedModel):
    """A Hugging Face BERT or RoBERTa that finds an answer's first and last token, and learned token pruning."""

    base_models = SPAN_MODELS
    every_token = True

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        return_kept: bool = False,
    ) -> LTPSpanOutput:
        """Score every token of padded questions with passages (B, N) as an answer's first and last token.

        ``start_positions`` and ``end_positions`` (B,) add the loss, the mean of both cross-entropies over a sentence's
        own tokens. Other arguments and errors as of the classifier of sentences.
        """
        encoded, indices = self._encode(input_ids, attention_mask, token_type_ids, return_kept)
        logits = _padded(self.qa_outputs(encoded.states), indices, input_ids, PADDING_LOGIT)  # (B, N, 2)
        start, end = logits.unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            pairs = ((start, start_positions), (end, end_positions))
            loss = sum(functional.cross_entropy(found, wanted.view(-1)) for found, wanted in pairs) / 2
        return LTPSpanOutput(loss=loss, start_logits=start, end_logits=end, **self._counts(encoded, input_ids))


def _padded(packed: Tensor, indices: Tensor, input_ids: Tensor, value: float) -> Tensor:
    """(T, C) -> (B, N, C), ``value`` at padding."""
    places = packed.new_full((input_ids.numel(), packed.shape[1]), value)
    return places.index_copy(0, indices, packed).view(*input_ids.shape, packed.shape[1])


AutoModelForTokenClassification.register(LTPConfig, LTPForTokenClassification, exist_ok=True)
AutoModelForQuestionAnswering.register(LTPConfig, LTPForQuestionAnswering, exist_ok=True)
