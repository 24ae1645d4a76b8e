"""The table of tasks, custom tasks, and the metrics, against their definitions."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltp.common.errors import LTPError
from ltp.settings.data import DataSettings
from ltp.settings.tasks import METRICS, METRICS_OF, TASKS, get_task
from ltp.training.metrics import compute_metrics

GLUE = {"rte", "mrpc", "stsb", "sst2", "qnli", "qqp", "mnli", "cola"}


def test_every_glue_task_is_there_with_its_own_metrics():
    assert {name for name, task in TASKS.items() if task.is_glue} == GLUE
    assert set(TASKS) - GLUE == {"rotten_tomatoes", "imdb", "bbc_news", "conll2003", "squad_v2"}
    assert TASKS["cola"].metrics == ("matthews",)
    assert TASKS["stsb"].metrics == ("pearson", "spearman", "mean") and TASKS["stsb"].num_labels == 1
    assert TASKS["mrpc"].metrics == TASKS["qqp"].metrics == ("accuracy", "f1", "mean")
    assert {TASKS[name].primary_metric for name in ("rte", "sst2", "qnli", "mnli")} == {"accuracy"}
    assert TASKS["mnli"].num_labels == 3 and TASKS["mnli"].mismatched_split == "validation_mismatched"
    # The order of the names is the order of the numbers in nyu-mll/glue.
    assert TASKS["mnli"].labels == ("entailment", "neutral", "contradiction")
    assert TASKS["rte"].labels == TASKS["qnli"].labels == ("entailment", "not_entailment")


def test_a_custom_task_is_data():
    task = get_task("reviews", text_columns=["body"], label_column="stars", labels=[1, 2, 3])
    assert (task.text_columns, task.label_column, task.labels, task.num_labels) == (
        ("body",),
        "stars",
        ("1", "2", "3"),
        3,
    )
    assert task.metrics == ("accuracy",) and task.primary_metric == "accuracy"
    scores = get_task("similarity", text_columns=["a", "b"], kind="regression")
    assert scores.metrics == ("pearson", "spearman", "mean") and scores.primary_metric == "mean" and scores.is_pair
    assert get_task("x", text_columns=["a"], metrics=["matthews", "accuracy"]).primary_metric == "matthews"


def test_a_known_task_takes_other_columns():
    task = get_task("sst2", text_columns=["text"], metrics=["accuracy", "matthews"], primary_metric="matthews")
    assert task.text_columns == ("text",) and task.labels == ("negative", "positive")
    assert task.primary_metric == "matthews"


@pytest.mark.parametrize(
    ("name", "given_", "message"),
    [
        ("sst-2", {}, "task: 'sst-2' is unknown; expected one of rte, mrpc"),
        ("sst2", {"text_columns": ["a", "b"]}, "expected one column, it is a task of single texts"),
        ("mrpc", {"text_columns": ["a"]}, "expected two columns, it is a task of pairs"),
        ("x", {"text_columns": ["a", "b", "c"]}, "expected one column, or two for a task of pairs"),
        ("x", {"text_columns": []}, "expected one column, or two for a task of pairs"),
        ("x", {"text_columns": ["a", "a"]}, "names a column twice"),
        ("x", {"text_columns": ["label"]}, "names a column twice"),
        ("x", {"text_columns": "a"}, "expected a list, as in [a]"),
        ("x", {"text_columns": ["a"], "kind": "ranking"}, "kind: 'ranking' of task x is not one of classification"),
        ("x", {"text_columns": ["a"], "labels": ["yes"]}, "expected two or more different names"),
        ("x", {"text_columns": ["a"], "labels": ["yes", "yes"]}, "expected two or more different names"),
        ("x", {"text_columns": ["a"], "kind": "regression", "labels": ["a", "b"]}, "leave labels out"),
        ("x", {"text_columns": ["a"], "metrics": ["acc"]}, "metrics: 'acc' of task x is unknown; expected some of"),
        ("x", {"text_columns": ["a"], "metrics": ["pearson"]}, "pearson does not fit task x, a classification"),
        ("stsb", {"metrics": ["accuracy"]}, "accuracy does not fit task stsb, a regression"),
        ("x", {"text_columns": ["a"], "metrics": ["mean"]}, "not `mean` alone"),
        ("x", {"text_columns": ["a"], "metrics": []}, "expected different ones"),
        ("x", {"text_columns": ["a"], "metrics": ["f1", "f1"]}, "expected different ones"),
        ("mnli", {"metrics": ["f1"]}, "f1 of task mnli needs two labels, it has 3; use macro_f1"),
        ("x", {"kind": "tokens", "text_columns": ["a", "b"]}, "kind tokens; expected one column, of words"),
        ("x", {"kind": "spans", "text_columns": ["a"]}, "kind spans; expected two columns, of questions and of"),
        ("x", {"kind": "spans", "labels": ["a", "b"]}, "task x is of kind spans; leave labels out"),
        ("x", {"kind": "tokens", "metrics": ["f1"]}, "f1 does not fit task x, of kind tokens; choose from entity_f1"),
        ("x", {"text_columns": ["a"], "primary_metric": "f1"}, "primary_metric: 'f1' of task x is not in"),
    ],
)
def test_a_task_that_does_not_fit_is_one_line(name, given_, message):
    with pytest.raises(LTPError) as caught:
        get_task(name, **given_)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "sst2"}, "source: packaged has rotten_tomatoes, imdb, bbc_news, not sst2"),
        ({"task": "sst2", "source": "local"}, "path: task sst2 has source local but no path"),
        ({"task": "x", "source": "hub", "text_columns": ["a"]}, "path: task x has source hub but no path"),
        ({"source": "ftp"}, "source: 'ftp' is not one of packaged, local, hub"),
        ({"max_length": 3}, "max_length: 3 is too small; expected at least 4"),
        ({"test_max_lengths": (8, 3)}, "test_max_lengths: 3 is too small; expected at least 4"),
        ({"task": "mine", "subset": "sst2"}, "source: packaged has rotten_tomatoes, imdb, bbc_news, not sst2"),
        ({"train_examples": 0}, "train_examples: 0 is too small"),
        ({"test": "third"}, "test: 'third' is not one of split, half, validation, given"),
        ({"test": "half"}, "test: 'half' does not fit packaged text"),
    ],
)
def test_data_settings_that_do_not_fit_are_one_line(settings, message):
    with pytest.raises(LTPError) as caught:
        DataSettings(**settings)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_metrics_by_hand():
    labels, predictions = [1, 1, 1, 0, 0, 1], [1, 1, 0, 0, 1, 1]  # 3 true, 1 false positive; 1 true, 1 false negative
    scores = compute_metrics(TASKS["mrpc"], predictions, labels)
    assert scores == pytest.approx({"accuracy": 4 / 6, "f1": 3 / 4, "mean": (4 / 6 + 3 / 4) / 2})
    (matthews,) = compute_metrics(TASKS["cola"], predictions, labels).values()
    assert matthews == pytest.approx((3 * 1 - 1 * 1) / math.sqrt(4 * 4 * 2 * 2))
    scores = compute_metrics(TASKS["stsb"], [1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 10.0])
    assert scores["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert scores["pearson"] == pytest.approx(np.corrcoef([1, 2, 4, 3], [1, 2, 3, 10])[0, 1])
    assert scores["mean"] == pytest.approx((scores["pearson"] + scores["spearman"]) / 2)
    macro = get_task("x", text_columns=["a"], metrics=["macro_f1"])
    assert compute_metrics(macro, [0, 1, 1], [0, 1, 2])["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_metrics_take_logits_and_the_information_of_task_json():
    info = {"kind": "classification", "metrics": ["accuracy"]}
    assert compute_metrics(info, np.array([[0.1, 2.0], [3.0, -1.0]]), [1, 1]) == {"accuracy": 0.5}
    info = {"kind": "regression", "metrics": ["pearson"]}
    assert compute_metrics(info, np.array([[1.0], [2.0], [3.0]]), [2, 4, 6]) == {"pearson": pytest.approx(1.0)}


@pytest.mark.parametrize("name", ["mrpc", "stsb", "cola"])
@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.filterwarnings("error")
def test_constant_predictions_score_nothing_but_never_nan(name, constant):
    scores = compute_metrics(TASKS[name], [constant] * 6, [0, 1, 0, 1, 0, 1])
    assert all(map(math.isfinite, scores.values()))
    expected = {"mrpc": {"accuracy": 0.5, "f1": constant * 2 / 3}, "cola": {"matthews": 0.0}}
    for metric, value in expected.get(name, {"pearson": 0.0, "spearman": 0.0, "mean": 0.0}).items():
        assert scores[metric] == pytest.approx(value)


@pytest.mark.filterwarnings("error")
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_scores_are_finite_and_bounded(pairs):
    labels, predictions = zip(*pairs, strict=True)
    for name in ("mrpc", "cola", "stsb"):
        for value in compute_metrics(TASKS[name], predictions, labels).values():
            assert -1.0 - 1e-9 <= value <= 1.0 + 1e-9


def test_metrics_refuse_what_cannot_be_scored():
    for predictions, labels, message in [
        ([], [], "at least one"),
        ([1], [1, 0], "1 for 2 labels"),
        ([math.nan, 1.0], [1.0, 2.0], "not finite"),
    ]:
        with pytest.raises(LTPError, match=message):
            compute_metrics(TASKS["stsb"], predictions, labels)


def test_every_metric_can_be_computed():
    for metric in (*METRICS_OF["classification"], *METRICS_OF["regression"]):
        kind = "regression" if metric in ("pearson", "spearman") else "classification"
        task = get_task("x", text_columns=["a"], kind=kind, metrics=[metric])
        assert compute_metrics(task, [0, 1, 1, 0], [0, 1, 1, 0]) == {metric: pytest.approx(1.0)}
    for metric in METRICS_OF["tokens"]:
        tags = [["B-PER", "I-PER", "O"], ["O"]]
        assert compute_metrics(get_task("x", kind="tokens", metrics=[metric]), tags, tags) == {metric: 1.0}
    for metric in METRICS_OF["spans"]:
        task = get_task("x", kind="spans", metrics=[metric])
        assert compute_metrics(task, ["the Seine", ""], [["Seine", "river Seine"], []]) == {metric: 1.0}
    assert {*METRICS} == {"mean"}.union(*METRICS_OF.values())


def test_tasks_with_labels_in_the_text_have_usual_columns_and_metrics():
    words, answers = get_task("names", kind="tokens"), get_task("faq", kind="spans", label_column="found")
    assert (
        (words.text_columns, words.label_column)
        == (("tokens",), "ner_tags")
        == (TASKS["conll2003"].text_columns, TASKS["conll2003"].label_column)
    )
    assert (answers.text_columns, answers.label_column) == (("question", "context"), "found")
    assert (words.primary_metric, words.metrics) == ("entity_f1", ("entity_f1", "token_accuracy"))
    assert (answers.primary_metric, answers.metrics) == ("answer_f1", ("answer_f1", "exact_match"))
    assert (words.num_labels, answers.num_labels, TASKS["conll2003"].num_labels) == (None, 2, 9)


def test_entities_by_hand():
    """One of two entities right, one found that is none: precision and recall a half each. IOB1 reads the same."""
    labels = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "O"]]
    found = [["B-PER", "I-PER", "O", "O"], ["O", "B-ORG"]]
    scores = compute_metrics(TASKS["conll2003"], found, labels)
    assert scores == {"entity_f1": pytest.approx(1 / 2), "token_accuracy": pytest.approx(4 / 6)}
    half = [["B-PER", "O", "O", "B-LOC"], ["O", "O"]]  # half an entity is none
    assert compute_metrics(TASKS["conll2003"], half, labels)["entity_f1"] == pytest.approx(1 / 2)
    assert compute_metrics(TASKS["conll2003"], [["O"]], [["O"]])["entity_f1"] == 0.0


@pytest.mark.parametrize(
    ("found", "answers", "exact", "f1"),
    [
        ("The  Seine!", ["Seine"], 1, 1),
        ("the river Seine", ["Seine", "a River seine."], 1, 1),
        ("the wide river", ["river Seine"], 0, 1 / 2),
        ("river river", ["river"], 0, 2 / 3),  # a word counts as often as it is there
        ("", [], 1, 1),
        ("Seine", [], 0, 0),
        ("", ["Seine"], 0, 0),
        ("", ["the"], 1, 1),  # an answer of nothing but an article is none
    ],
)
def test_answers_by_hand(found, answers, exact, f1):
    scores = compute_metrics(TASKS["squad_v2"], [found], [answers])
    assert scores == {"exact_match": exact, "answer_f1": pytest.approx(f1)}


def test_what_a_grid_needs_is_free_of_torch():
    code = """
import sys
import ltp.results.checkpoint, ltp.settings.data, ltp.text.hub, ltp.text.prepare, ltp.training.metrics
slow = {"torch", "transformers", "datasets", "sklearn", "scipy", "pandas", "huggingface_hub"} & set(sys.modules)
sys.exit(f"imported: {slow}" if slow else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
