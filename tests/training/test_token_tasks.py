"""Token classification and question answering, from the text to a run that prunes, on a tiny encoder."""

from __future__ import annotations

import html
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.annotated import write_conll, write_squad
from helpers.stage_runs import refusal
from safetensors.torch import load_file

from ltp.analysis.csv_files import read_rows
from ltp.analysis.summary import SummaryRow
from ltp.benchmark.runner import load_model as load_timed
from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.export.export import export
from ltp.grid.grid import Grid
from ltp.models import explain
from ltp.models.heads import IGNORED, PADDING_LOGIT
from ltp.models.loading import load_pruned
from ltp.models.spans import best_span
from ltp.results.examples import read_examples
from ltp.results.run import read_metrics, read_predictions
from ltp.results.verify import verify_run
from ltp.settings.data import DataSettings
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.text.dataset import load
from ltp.text.prepare import prepare
from ltp.training.collator import Collator
from ltp.training.evaluation import evaluate_checkpoint
from ltp.training.metrics import compute_metrics
from ltp.training.recording import TRAIN_LOGITS
from ltp.training.stage import Stage
from ltp.training.stages import train
from ltp.training.trainer import distillation_loss

pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = ("tokens", "spans")
BASE = TrainingSettings(learning_rate=3e-3, epochs=12, batch_size=8, precision="fp32")
HARD = TrainingSettings(learning_rate=1e-3, epochs=2, batch_size=8, distillation=0.5, precision="fp32")


@pytest.fixture(scope="module")
def studies(tiny_encoder, tmp_path_factory):
    """For each kind: ``data``, the dense run ``base``, whose outputs are kept, and the folder ``root``."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        for kind, write, suffix in (("tokens", write_conll, "conll"), ("spans", write_squad, "json")):
            root = tmp_path_factory.mktemp(kind)
            write(root / f"train.{suffix}", 96)
            write(root / f"dev.{suffix}", 48, first=96)
            data, base = root / "data", root / "base"
            prepare(DataSettings("own", "local", str(root), model=str(tiny_encoder), max_length=24, kind=kind), data)
            train(Stage("base", "dense", str(tiny_encoder), data, base, BASE, save_train_logits=True))
            made[kind] = SimpleNamespace(root=root, data=data, base=base)
    return made


@pytest.mark.parametrize("kind", TASKS)
def test_a_dense_run_learns_and_leaves_what_it_should(studies, kind):
    study = studies[kind]
    metrics, (splits, info) = read_metrics(study.base), load(study.data)
    primary = {"tokens": "entity_f1", "spans": "answer_f1"}[kind]
    assert metrics["primary_metric"] == primary and metrics["metrics"]["test"][primary] > 0.6
    assert verify_run(study.base) == [] and metrics["flops"]["test"]["relative"] == 1.0
    answers = read_predictions(study.base)["test"]
    again = compute_metrics(info, answers["predictions"], answers["labels"])
    assert {name: metrics["metrics"]["test"][name] for name in again} == pytest.approx(again)
    if kind == "tokens":
        texts = [text.split() for text in splits["test"]["text"]]
        assert list(map(len, answers["labels"])) == list(map(len, answers["predictions"])) == list(map(len, texts))
    else:
        passages = splits["test"]["text_pair"]
        assert all(found in passage for found, passage in zip(answers["predictions"], passages, strict=True))
        assert [] in answers["labels"] and "" in answers["predictions"]
    card = (study.base / "README.md").read_text()
    assert {"tokens": "AutoModelForTokenClassification", "spans": "AutoModelForQuestionAnswering"}[kind] in card
    stored = load_file(study.base / TRAIN_LOGITS)["logits"]
    assert stored.shape == (sum(splits["train"]["length"]), info["num_labels"])


@pytest.mark.parametrize("kind", TASKS)
def test_stored_outputs_are_those_of_each_training_example(studies, kind):
    """In the order of the split, without padding, as the model gives them for each example by itself."""
    study = studies[kind]
    splits, _ = load(study.data)
    stored = load_file(study.base / TRAIN_LOGITS)["logits"].split(list(splits["train"]["length"]))
    model = load_pruned(study.base)
    for row in (0, 7, 40):
        example = splits["train"][row]
        names = [name for name in ("input_ids", "token_type_ids") if name in example]
        with torch.no_grad():
            alone = model(**{name: torch.tensor([example[name]]) for name in names}).logits[0]
        torch.testing.assert_close(stored[row], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("method", ["ltp", "budget", "topk", "manual"])
def test_every_method_prunes_and_is_scored(studies, kind, method, tmp_path):
    study = studies[kind]
    pruning = {
        "ltp": PruningSettings(final_token_threshold=0.05, score_length=16),
        "budget": PruningSettings(scoring_mode="saliency"),
        "topk": PruningSettings(prune_mode="topk", token_keep_rate=0.2),
        "manual": PruningSettings(final_token_threshold=0.06, score_length=16),
    }[method]
    convert(study.base, tmp_path / "converted", pruning)
    start, hard = tmp_path / "converted", HARD
    if method in ("ltp", "budget"):
        soft = {"ltp": {"temperature": 0.01, "lambda_": 1.0}, "budget": {"flops_target": 0.7}}[method]
        settings = replace(HARD, **soft, threshold_learning_rate={"ltp": 1e-3, "budget": 0.02}[method])
        train(Stage("soft", method, str(start), study.data, tmp_path / "soft", settings, teacher=study.base))
        start, hard = tmp_path / "soft", replace(HARD, flops_target=soft.get("flops_target"))
    run = train(Stage("hard", method, str(start), study.data, tmp_path / "hard", hard, teacher=study.base))
    relative = run["flops"]["validation"]["relative"]
    if method == "budget":
        assert relative == pytest.approx(0.7, abs=0.06)
    elif method != "topk":  # top-k spares the first three layers, and this encoder has two
        assert relative < 0.99
    executed = run["flops"]["validation"]["executed_gflops"]
    assert executed <= run["flops"]["validation"]["gflops"] * (1 + 1e-9)
    assert run["metrics"]["test"][run["primary_metric"]] > 0.3
    found = evaluate_checkpoint(tmp_path / "hard", study.data)
    assert found["flops"] == run["flops"] and list(found["metrics"]) == list(run["metrics"])
    for split, scores in found["metrics"].items():
        assert scores == pytest.approx(run["metrics"][split])


def test_the_wrong_kind_of_model_is_refused(studies, tiny_study, tmp_path):
    tokens, spans = studies["tokens"], studies["spans"]
    convert(tokens.base, tmp_path / "converted", PruningSettings())
    message = refusal("hard", "ltp", str(tmp_path / "converted"), spans.data, tmp_path / "hard", HARD)
    assert "is a model for TokenClassification, the data are of kind spans" in message
    with pytest.raises(LTPError, match="is a model for SequenceClassification, the data are of kind tokens"):
        evaluate_checkpoint(tiny_study.base, tokens.data)


def test_batches_of_the_collator():
    words = [{"input_ids": [2, 5, 6, 3], "labels": [IGNORED, 1, 2, IGNORED], "row": 1, "length": 4},
             {"input_ids": [2, 5, 3], "labels": [IGNORED, 0, IGNORED], "row": 0, "length": 3}]  # fmt: skip
    teacher = [torch.full((3, 2), 1.0), torch.full((4, 2), 2.0)]
    batch = Collator(0, "tokens", teacher)(words)
    assert batch["labels"].tolist() == [[IGNORED, 0, IGNORED, IGNORED], [IGNORED, 1, 2, IGNORED]]
    assert batch["teacher_logits"][:, :, 0].tolist() == [[1, 1, 1, PADDING_LOGIT], [2, 2, 2, 2]]
    asked = [{"input_ids": [2, 5, 6, 3], "labels": [1, 2]}, {"input_ids": [2, 5, 3], "labels": [0, 0]}]
    batch = Collator(0, "spans")(asked)
    assert (batch["start_positions"].tolist(), batch["end_positions"].tolist()) == ([1, 0], [2, 0])
    assert "labels" not in batch and batch["attention_mask"].tolist() == [[1] * 4, [1, 1, 1, 0]]


def test_distillation_compares_labelled_tokens_and_places_in_a_passage():
    """Neither padding nor a token without label counts; gradients stay finite."""
    torch.manual_seed(0)
    own, theirs = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4)
    labels = torch.tensor([[0, IGNORED, 2], [1, IGNORED, IGNORED]])
    picked = [(0, 0), (0, 2), (1, 0)]
    expected = torch.stack([-(theirs[at].softmax(-1) * own[at].log_softmax(-1)).sum() for at in picked]).mean()
    torch.testing.assert_close(distillation_loss(own, theirs, labels), expected)
    own, theirs = torch.randn(2, 5, 2), torch.randn(2, 5, 2)
    for logits in (own, theirs):
        logits[1, 3:] = PADDING_LOGIT
    own.requires_grad_()
    places = [(0, slice(0, 5)), (1, slice(0, 3))]
    losses = [
        -(theirs[row, own_places, side].softmax(0) * own[row, own_places, side].log_softmax(0)).sum()
        for row, own_places in places
        for side in (0, 1)
    ]
    found = distillation_loss(own, theirs)
    torch.testing.assert_close(found, torch.stack(losses).mean())
    found.backward()
    assert torch.isfinite(own.grad).all()


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ([0, 9, 1, 5, 0], [0, 0, 3, 6, 0], (3, 3)),  # token 1 is no passage
        ([0, 0, 2, 5, 4], [0, 0, 4, 1, 0], (2, 2)),  # 3 before 2 would score 9
        ([4, 0, 3, 2, 0], [3, 0, 0, 4, 0], None),  # a tie with "no answer" is no answer
        ([3, 0, 3, 2, 0], [3, 0, 0, 4, 0], (2, 3)),
    ],
)
def test_the_best_span_by_hand(start, end, expected):
    in_passage = np.array([False, False, True, True, True])
    assert best_span(np.array(start, float), np.array(end, float), in_passage) == expected
    assert best_span(np.array(start, float), np.array(end, float), np.zeros(5, bool)) is None


def test_no_answer_is_longer_than_thirty_tokens():
    start, end = np.zeros(50), np.zeros(50)
    start[5], end[34], end[35] = 9, 4, 8
    assert best_span(start, end, np.arange(50) > 3) == (5, 34)


def test_words_dropped_are_explained_with_the_answer(studies, tmp_path):
    for kind, texts in (("tokens", ["the film is dull"]), ("spans", [("the film is dull", "a plot was weak and so")])):
        convert(studies[kind].base, tmp_path / kind, PruningSettings(final_token_threshold=0.06, score_length=16))
        (sentence,) = explain.explain(*explain.load(tmp_path / kind)[:2], texts, 24)
        assert sentence.left_after()[0] > sentence.left_after()[-1]
        if kind == "tokens":
            assert sentence.answer == "O" or set(sentence.answer.replace(",", "").split()[::2]) <= {*texts[0].split()}
        else:
            assert sentence.answer == explain.NO_ANSWER or sentence.answer in texts[0][1]
    with pytest.raises(LTPError, match="expected two, a question and the passage"):
        explain.explain(*explain.load(tmp_path / "spans")[:2], ["alone"], 24)
    assert explain.labelled_words(["in", "New", "York"], ["O", "B-LOC", "I-LOC"]) == "New B-LOC, York I-LOC"


@pytest.mark.parametrize("kind", TASKS)
def test_a_study_has_tables_figures_and_a_page(studies, kind, tmp_path, capsys):
    """Intervals by the task's metric, from predictions that are lists; examples with their answers."""
    task, study = tmp_path / "own", studies[kind]
    seed = task / "seed~0"
    shutil.copytree(study.data, task / "data")
    shutil.copytree(study.base, seed / "dense/base")
    convert(seed / "dense/base", seed / "budget/converted", PruningSettings(scoring_mode="relative"))
    settings = replace(HARD, flops_target=0.7, distillation=0.0)
    train(Stage("soft", "budget", str(seed / "budget/converted"), task / "data", seed / "budget/soft", settings))
    hard = Stage("hard", "budget", str(seed / "budget/soft"), task / "data", seed / "budget/target~0.7/hard", settings)
    train(replace(hard, settings=replace(settings, epochs=0)))
    for command in (["tables", tmp_path], ["plots", tmp_path], ["explain", "--examples", task], ["report", tmp_path]):
        assert main(list(map(str, command))) == 0
    rows = {row.method: row for row in read_rows(tmp_path / "summary.csv", SummaryRow)}
    dense, metrics = rows["dense"], read_metrics(study.base)["metrics"]["test"]
    primary = {"tokens": "entity_f1", "spans": "answer_f1"}[kind]
    assert dense.metric == primary and dense.test_score == pytest.approx(100 * metrics[primary], abs=0.01)
    assert dense.test_score_low < dense.test_score < dense.test_score_high or dense.test_score > 99
    assert {"tokens": "entity F1", "spans": "F1 of the answers"}[kind] in capsys.readouterr().out
    sentences, _ = read_examples(task / "examples.json")
    expected = {"tokens": "B-", "spans": explain.NO_ANSWER}[kind]
    assert any(expected in str(sentence.expected) for sentence in sentences)
    page = (tmp_path / "index.html").read_text()
    assert all(html.escape(sentence.expected) in page for sentence in sentences)


@pytest.mark.parametrize("kind", TASKS)
def test_what_only_classifiers_can_do_is_refused_in_a_line(studies, kind, tmp_path):
    study, head = studies[kind], {"tokens": "TokenClassification", "spans": "QuestionAnswering"}[kind]
    convert(study.base, tmp_path / "run", PruningSettings())
    for attempt in (
        lambda: export(tmp_path / "run", tmp_path / "onnx", onnx=True, data_dir=study.data),
        lambda: load_timed(str(tmp_path / "run")),
    ):
        with pytest.raises(LTPError, match=f"is a model for {head}; .* classifiers of sentences only; run it in PyTor"):
            attempt()
    assert not (tmp_path / "onnx").exists()
    export(tmp_path / "run", tmp_path / "plain", plain=True)
    assert load_pruned(tmp_path / "plain", load(study.data)[1]).config.prune_mode == "none"


def test_bad_grids_of_these_kinds_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_conll(tmp_path / "a.conll", 5)
    own = {"source": "local", "path": "a.conll"}
    assert (
        Grid({"tasks": {"names": own | {"kind": "tokens"}}}).config.tasks["names"]["data"].get_task().kind == "tokens"
    )
    with pytest.raises(LTPError, match=r"tasks.names.kind: 'ner' is not one of classification, regression, tokens"):
        Grid({"tasks": {"names": own | {"kind": "ner"}}})
    with pytest.raises(LTPError, match="metrics: accuracy does not fit task names, of kind tokens; choose from entity"):
        Grid({"tasks": {"names": own | {"kind": "tokens", "metrics": ["accuracy"]}}})
