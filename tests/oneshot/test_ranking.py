"""Rankings compared: figures by hand and by libraries, and whole calls on a small reranker."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from helpers.one_call import save_classifier, some_pairs
from hypothesis import given
from hypothesis import strategies as st

import ltp
from ltp.cli.main import main
from ltp.oneshot import ranking
from ltp.oneshot.prune import Texts, divide
from ltp.oneshot.texts import MIN_QUERIES
from ltp.settings.tasks import Task


def test_figures_by_hand():
    original, pruned = np.array([4.0, 3.0, 2.0, 1.0]), np.array([4.0, 2.0, 3.0, 1.0])
    assert ranking.kendall(original, pruned) == pytest.approx(4 / 6)  # one of six pairs is turned
    assert ranking.overlap(original, pruned) == 0.5  # of the better two, one stays
    assert ranking.reciprocal_rank(np.array([0, 0, 1, 0]), pruned) == 0.5
    assert ranking.reciprocal_rank(np.array([0, 0, 0, 0]), pruned) == 0.0
    assert ranking.ndcg(np.array([0.0, 1.0, 0.0, 0.0]), original) == pytest.approx(1 / np.log2(3))


@given(st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=30), min_size=1, max_size=6), st.randoms())
def test_a_ranking_agrees_with_itself_in_any_order_of_the_rows(groups, random):
    scores = np.array([value for group in groups for value in group])
    scores = scores.argsort().argsort().astype(float)  # no ties
    queries = np.array([number for number, group in enumerate(groups) for _ in group])
    order = list(range(len(scores)))
    random.shuffle(order)
    scores, queries = scores[order], queries[order]
    if max(map(len, groups)) < 2:
        assert list(ranking.candidates(queries)) == []
        return
    for found in ranking.ranking_agreement(queries, scores, 2 * scores + 1):
        assert [found[name] for name in ("estimate", "low", "high")] == pytest.approx([1.0] * 3)
    assert ranking.worst_queries(queries, ["q"] * len(order), ["p"] * len(order), scores, scores, 3) == []
    assert ranking.ranking_agreement(queries, scores, -scores)[0]["estimate"] == pytest.approx(-1.0)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 1000)), min_size=2, max_size=40, unique_by=lambda pair: pair[1]
    )
)
def test_scores_lie_between_0_and_1_and_a_perfect_ranking_has_1(pairs):
    relevance, scores = (np.array(values, float) for values in zip(*pairs, strict=True))
    queries = np.zeros(len(pairs), int)
    found = ranking.ranking_scores(queries, relevance, relevance, scores)
    assert bool(found) == bool((relevance > 0).any())
    for row in found:
        assert row["original"]["estimate"] == pytest.approx(1.0)
        assert 0 <= row["pruned"]["estimate"] <= 1 and row["difference"]["estimate"] <= 1e-9


def test_judgements_without_a_relevant_candidate_give_no_scores():
    queries = np.array([0, 0, 1, 1])
    assert ranking.ranking_scores(queries, np.zeros(4), np.arange(4.0), np.arange(4.0)) == []


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    """The folders of a small reranker and of the same pruned, and the screen."""
    folder = tmp_path_factory.mktemp("reranker")
    save_classifier(folder / "reranker", labels=1)
    pairs = some_pairs(40, 12)
    relevance = [float(number % 12 == 0) for number in range(len(pairs))]
    result = ltp.prune(
        str(folder / "reranker"), None, pairs, flops=0.6, labels=relevance, output=folder / "pruned", minutes=0.15,
        protect="first",
    )  # fmt: skip
    return folder, str(result)


def test_rankings_are_compared_by_query(reranker):
    folder, screen = reranker
    (point,) = json.loads((folder / "pruned/report.json").read_text())["points"]
    assert [found["queries"] for found in point["agreement"]] == [9, 9, 9]  # whole queries of 12, for 100 pairs
    assert point["kept"] == 108 and point["flops"] == pytest.approx(0.6, abs=0.04)
    for name in ("Kendall's τ", "same first candidate", "NDCG@10 × 100", "MRR@10 × 100"):
        assert name in screen


def test_pairs_whose_first_text_hardly_repeats_are_no_rankings(tmp_path):
    folder = save_classifier(tmp_path / "similarity", labels=1)
    pairs = [(f"{first} n{number}", second) for number, (first, second) in enumerate(some_pairs(110, 2))]
    pairs += [(pairs[0][0], pairs[1][1]), (pairs[2][0], pairs[3][1])]
    result = ltp.prune(str(folder), None, pairs, flops=0.6, minutes=0.1)
    (found,) = result.report["points"][0]["agreement"]
    assert found["name"].startswith("Pearson")


@given(st.lists(st.integers(1, 40), min_size=12, max_size=40), st.integers(1, 400), st.integers(0, 5))
def test_both_parts_have_queries_with_several_candidates(sizes, kept, seed):
    sizes += [2] * 10
    queries = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = datasets.Dataset.from_dict({"length": [8] * len(queries)})
    frame = pd.DataFrame({"text": queries.astype(str), "text_pair": np.arange(len(queries)).astype(str)})
    texts = Texts(Task("answers", ("text", "text_pair")), frame, rows, 8, False, ranked=True)
    train, aside = divide(texts, kept, 10**6)
    assert len(train.rows) + len(aside.rows) == len(queries)
    assert not set(train.frame["text"]) & set(aside.frame["text"])
    for part in (train, aside):
        assert len(list(ranking.candidates(part.queries))) >= MIN_QUERIES // 2


def test_no_query_is_both_learned_from_and_reported_on(reranker):
    from ltp.text.dataset import load

    splits, _ = load(reranker[0] / "pruned/data")
    assert not set(splits["train"]["text"]) & set(splits["validation"]["text"])


def test_the_query_is_never_dropped(reranker):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = reranker[0] / "pruned"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for query, text in some_pairs(5, 2):
        batch = tokenizer([(query, text)], return_tensors="pt")
        kept = model.eval()(**batch, return_kept=True).kept[0]
        first = int((batch["input_ids"][0] == tokenizer.sep_token_id).nonzero()[0])
        assert (kept[: first + 1] == model.layers).all() and (kept[first + 1 :] < model.layers).any()


def test_the_ranks_of_a_cross_encoder_are_the_models_in_pytorch_and_onnx(reranker, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    pytest.importorskip("onnxruntime")
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from ltp.export.onnx_classifier import OnnxClassifier

    folder = reranker[0] / "pruned"
    cross_encoder = sentence_transformers.CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity())
    pairs = some_pairs(3, 8)
    scores = cross_encoder.predict(pairs)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(pairs, return_tensors="pt", padding=True, truncation=True)
    np.testing.assert_allclose(scores, model.eval()(**batch).logits[:, 0].detach().numpy(), atol=1e-5)
    assert main(["export", str(folder), f"--output={tmp_path}", "--onnx"]) == 0
    cross_encoder[0].model = OnnxClassifier(tmp_path / "model.onnx", model.config)
    np.testing.assert_allclose(cross_encoder.predict(pairs), scores, atol=1e-4)
