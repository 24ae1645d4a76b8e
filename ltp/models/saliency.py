"""How much the answer depends on a token, predicted from the token's state: the score ``saliency``.

What later layers will want of a token is not known when a layer has to decide whether it stays. The unpruned model
shows it on any text: the gradient of its answer with respect to the attention that the token gets from this layer on.
One linear probe for each layer (Alain and Bengio, 2016, https://arxiv.org/abs/1610.01644), fitted once by ridge
regression, predicts its logarithm from the states that enter the layer. So a score costs one dot product a token, and
no layer need say what attention its tokens receive. As all scores but the paper's it is relative to the sentence's
median token.

Shapes: T tokens in the batch, B sentences, N longest sentence, H hidden, L layers, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ltp.common.errors import LTPError
from ltp.models.heads import IGNORED
from ltp.models.modeling import LTPPreTrainedModel
from ltp.models.output import LTPOutput, LTPSpanOutput
from ltp.models.packing import PackedTokens, protected_rows
from ltp.models.pruning import Rule
from ltp.models.scores import centred_log
from ltp.settings.pruning import SALIENCY

RIDGE = 0.01  # of the mean variance of a state's elements, added to each element's
ROUNDING = 1e-9  # of the mean square of a state's elements, added likewise
LIMITS = (-4.0, 6.0)  # of a saliency's logarithm less the sentence's median: a gradient may vanish by chance


def lacks_saliency(model: LTPPreTrainedModel) -> bool:
    """Whether the model's score needs probes and none have been fitted."""
    probes = getattr(model, SALIENCY, None)
    return probes is not None and not probes.any()


def require_saliency(model: LTPPreTrainedModel) -> None:
    """Raise LTPError where the model's score needs probes and none have been fitted."""
    if lacks_saliency(model):
        raise LTPError(
            f"{SALIENCY}: all 0, so that no token scores above another; ltp train and ltp prune fit them, and in "
            "Python ltp.models.saliency.fit_saliency"
        )


def fit_saliency(model: LTPPreTrainedModel, batches: Sequence[Mapping[str, Tensor]]) -> None:
    """Fit the model's ``saliency_probes`` (L, H + 1) to what its answers depend on, unpruned, in padded batches (B, N).

    A token's saliency in layer l is |Σ ∂y/∂g| over the layers from l on, where g, 0, is added to the scores of all
    queries with the token's key, and y says how sure the model is of its answer (:func:`_confidence`). A head that
    reads the tokens' mean is one layer more, of equal scores. Where every token has an answer of its own, what each
    layer adds to the token's state is multiplied by 1 + g too, and answers whose label is IGNORED do not count, if the
    batches have ``labels``. The probe is fitted to the saliency's logarithm, less that of the sentence's median token,
    within LIMITS; tokens that are never dropped take no part. Raises LTPError for a model of another score, and where
    states or gradients are not finite numbers.
    """
    if not hasattr(model, SALIENCY):
        raise LTPError(f"scoring_mode: {model.config.scoring_mode!r} has no probes; expected 'saliency'")
    with torch.inference_mode(False), torch.no_grad():
        listener = _Listener(model)
        with model.evaluating(listener):
            for batch in batches:
                with torch.enable_grad():
                    confidence = _confidence(model(**batch), batch.get("labels"))
                    listener.learn(torch.autograd.grad(confidence, listener.gates))
        probes = torch.stack([fit.solve() for fit in listener.fits])
        if not probes.isfinite().all():
            raise LTPError(f"{SALIENCY}: the model's states or gradients are not finite numbers; train it anew")
        model.saliency_probes.copy_(probes)


def _confidence(output: LTPOutput | LTPSpanOutput, labels: Tensor | None) -> Tensor:
    """() the sum over all answers of the likeliest class's logit less the logarithm of what the others add up to.

    Where each token has an answer, those whose label is IGNORED take no part.

    Its gradient is that of log p / (1 - p), p the likeliest class's probability, which does not vanish where p nears 1.
    Where there is one output, a number, it is that.
    """
    total = output.logits.new_zeros(())
    spans = isinstance(output, LTPSpanOutput)
    for logits in (output.start_logits, output.end_logits) if spans else (output.logits,):
        if logits.shape[-1] == 1:
            total = total + logits.sum()
            continue
        best = logits.argmax(-1, keepdim=True)
        others = logits.scatter(-1, best, -torch.inf).logsumexp(-1)
        answers = logits.gather(-1, best).squeeze(-1) - others
        if labels is not None and labels.ndim > 1:
            answers = answers[labels != IGNORED]
        total = total + answers.sum()
    return total


class _Fit:
    """A ridge regression with an intercept, from sums over tokens."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.products = torch.zeros(size + 2, size + 2, dtype=torch.float64, device=device)

    def add(self, states: Tensor, targets: Tensor) -> None:
        """Take in the states (K, H) of tokens and what is to be predicted of them (K,)."""
        rows = torch.cat([part.double() for part in (states, targets[:, None], torch.ones_like(targets)[:, None])], 1)
        self.products += rows.T @ rows

    def solve(self) -> Tensor:
        """(H + 1,) the weights and the intercept; all 0 where nothing was taken in."""
        count = self.products[-1, -1].clamp_min(1.0)
        squares, means = self.products[:-1, :-1] / count, self.products[-1, :-1] / count
        covariances = squares - means.outer(means)
        states, with_target = covariances[:-1, :-1], covariances[:-1, -1]
        # Where all states are one, what is left of their variance is the rounding of their squares.
        rounding = ROUNDING * squares.diagonal()[:-1].mean() + torch.finfo(torch.float32).tiny
        states.diagonal().add_(RIDGE * states.diagonal().mean() + rounding)
        weights = torch.linalg.solve(states, with_target)
        return torch.cat([weights, means[-1:] - means[None, :-1] @ weights]).float()


class _Listener(Rule):
    """Keeps every token, gates its attention, and takes in its states and saliency."""

    fits: list[_Fit]  # of each layer
    gates: list[Tensor]  # (T,) of each layer of this forward pass
    tokens: list[PackedTokens]  # that entered each
    states: list[Tensor]  # (T, H) their states then

    def __init__(self, model: LTPPreTrainedModel) -> None:
        super().__init__("absolute_threshold")
        fits = [_Fit(model.config.hidden_size, model.device) for _ in range(model.layers)]
        for name, value in {"fits": fits, "gates": [], "tokens": [], "states": []}.items():
            object.__setattr__(self, name, value)  # the rule's own fields are frozen

    def gate(self, layer: int, tokens: PackedTokens) -> Tensor:
        """(T,) zeros, of which the answer's gradient will be asked."""
        self.gates.append(torch.zeros(len(tokens.hidden), device=tokens.hidden.device, requires_grad=True))
        self.tokens.append(tokens)
        self.states.append(tokens.hidden.detach())
        return self.gates[-1]

    def is_active(self, layer: int) -> bool:
        """No layer drops a token."""
        return False

    def learn(self, gradients: Sequence[Tensor]) -> None:
        """Take in the answer's gradients (T,) by the gates of each layer, and of the mean; forget the forward pass."""
        count = len(self.fits)
        later = sum(gradients[count:], torch.zeros_like(gradients[-1]))
        layers = zip(self.fits, gradients[:count], self.tokens[:count], self.states[:count], strict=True)
        for fit, gradient, tokens, states in reversed(list(layers)):
            later = later + gradient
            saliency = centred_log(later.abs(), tokens.seq_ids, tokens.lengths).clamp(*LIMITS)
            free = torch.ones_like(saliency, dtype=torch.bool).index_fill(0, protected_rows(tokens), False)
            fit.add(states[free], saliency[free])
        for part in (self.gates, self.tokens, self.states):
            part.clear()
