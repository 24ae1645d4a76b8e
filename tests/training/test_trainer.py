"""The trainer's own part: λ, the thresholds' group and clip, accumulation, distillation, order, checkpoints."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers import tiny
from helpers.trainers import LENGTHS, PAD, dataset, make_trainer

from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.output import LTPOutput
from ltp.settings.training import TrainingSettings
from ltp.training.callbacks import CheckpointByTime, Diverged, StopOnDivergence
from ltp.training.collator import Collator
from ltp.training.outputs import read_predictions
from ltp.training.resuming import COMPLETE, last_checkpoint
from ltp.training.trainer import LTPTrainer, distillation_loss, training_arguments


def pruning(kind: str = "bert") -> LTPForSequenceClassification:
    return LTPForSequenceClassification.from_base(tiny.base_model(kind, layers=3), tiny.PRUNING["absolute_threshold"])


def gradients_of(trainer: LTPTrainer, monkeypatch) -> list[dict[str, torch.Tensor]]:
    """Train, and return the gradients of each optimiser step as the clip finds them."""
    steps: list[dict[str, torch.Tensor]] = []

    def remember(model):
        steps.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        return torch.zeros(())

    monkeypatch.setattr(trainer, "_clip_grad_norm", remember)
    trainer.train()
    return steps


@pytest.mark.parametrize(
    ("warmup", "steps", "expected"),
    [
        (0.5, 8, [0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2, 0.2]),
        (0.0, 3, [0.2, 0.2, 0.2]),
        (1.0, 4, [0.05, 0.1, 0.15, 0.2]),
        (0.1, 4, [0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_lambda_rises_over_its_warmup_and_stays(tmp_path, warmup, steps, expected):
    trainer = make_trainer(pruning(), tmp_path, temperature=0.01, lambda_=0.2, lambda_warmup=warmup)
    trainer.state.max_steps = steps
    found = []
    for step in range(steps):
        trainer.state.global_step = step
        found.append(trainer.lambda_now())
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [(0.0, [1, 0.75, 0.5, 0.25]), (0.5, [0, 0.5, 1, 0.5]), (0.75, [0, 1 / 3, 2 / 3, 1]), (1.0, [0, 0.25, 0.5, 0.75])],
)
def test_warmup_is_a_share_of_the_steps_up_to_all_of_them(tmp_path, warmup, expected):
    trainer = make_trainer(pruning(), tmp_path, warmup=warmup)
    trainer.create_optimizer_and_scheduler(num_training_steps=4)
    (rate, *_) = trainer.lr_scheduler.lr_lambdas
    found = [rate(step) for step in range(4)]
    assert found == pytest.approx(expected)


def test_the_loss_is_task_loss_plus_lambda_times_the_regulariser(tmp_path):
    trainer = make_trainer(pruning().train(), tmp_path, temperature=0.01, lambda_=0.3)
    trainer.state.max_steps = 1
    batch = trainer.data_collator(list(dataset()))
    loss, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
    assert loss.item() == pytest.approx(outputs.loss.item() + 0.3 * outputs.regulariser.item())
    assert outputs.regulariser > 0.1
    trainer.model.eval()  # and the task loss alone when it is judged
    loss, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
    assert loss is outputs.loss and outputs.regulariser is None


def test_thresholds_have_their_own_group(tmp_path):
    settings = {"temperature": 0.01, "lambda_": 0.1, "weight_decay": 0.2, "learning_rate": 1e-3}
    trainer = make_trainer(pruning(), tmp_path, threshold_learning_rate=0.05, **settings)
    model, groups = trainer.model, trainer.create_optimizer().param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1e-3, 0.2), (1e-3, 0.0), (0.05, 0.0)]
    assert [p is model.threshold_deltas for p in groups[2]["params"]] == [True]
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) and set(grouped) == {id(p) for p in model.parameters()}
    names = {id(p): name for name, p in model.named_parameters()}
    undecayed = {names[id(p)] for p in groups[1]["params"]}
    assert undecayed == {name for name in names.values() if name.endswith("bias") or "LayerNorm" in name}

    unset = make_trainer(pruning(), tmp_path, **settings)
    assert unset.create_optimizer().param_groups[2]["lr"] == 1e-3


def test_thresholds_move_at_their_own_rate_and_do_not_decay(tmp_path):
    """AdamW's first step is its learning rate, whatever the gradient's size."""
    model = pruning()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = make_trainer(
        model, tmp_path, temperature=0.01, lambda_=0.1, threshold_learning_rate=0.03, weight_decay=1.0
    )
    trainer.train()
    moved = (model.threshold_deltas - before["threshold_deltas"]).abs()
    assert moved.tolist() == pytest.approx([0.03] * 3, rel=1e-3)
    weights = model.get_parameter("classifier.bias") - before["classifier.bias"]
    assert weights.abs().tolist() == pytest.approx([1e-3] * 3, rel=1e-3)


@pytest.mark.parametrize("large", ["weights", "thresholds"])
def test_thresholds_are_clipped_apart(tmp_path, large):
    """Neither a large gradient of the weights nor one of the thresholds makes the other's vanish."""
    trainer = make_trainer(pruning(), tmp_path, temperature=0.01, lambda_=0.1, max_grad_norm=2.0)
    model = trainer.model
    for name, parameter in model.named_parameters():
        is_threshold = name == "threshold_deltas"
        parameter.grad = torch.full_like(parameter, 100.0 if is_threshold == (large == "thresholds") else 1e-4)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    weights = [p for name, p in model.named_parameters() if name != "threshold_deltas"]
    norm = torch.nn.utils.get_total_norm([p.grad for p in weights])
    assert trainer._clip_grad_norm(model).item() == pytest.approx(norm.item())
    clipped = [model.threshold_deltas] if large == "thresholds" else weights
    untouched = weights if large == "thresholds" else [model.threshold_deltas]
    assert torch.nn.utils.get_total_norm([p.grad for p in clipped]).item() == pytest.approx(2.0, rel=1e-4)
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(torch.equal(p.grad, before[names[id(p)]]) for p in untouched)


def test_the_clip_is_used(tmp_path):
    """Training calls it: with a clip of nearly nothing, nothing but AdamW's epsilon is left of a step."""
    model = pruning()
    before = model.classifier.weight.detach().clone()
    make_trainer(model, tmp_path, max_grad_norm=1e-12).train()
    assert (model.classifier.weight - before).abs().max() < 1e-5


@pytest.mark.parametrize("kind", tiny.SOFT_KINDS)
@pytest.mark.parametrize("stage", ["soft", "hard"])
def test_accumulation_gives_the_gradients_of_the_large_batch(tmp_path, monkeypatch, kind, stage):
    settings = {"temperature": 0.01, "lambda_": 0.5} if stage == "soft" else {}
    found = {}
    for parts in (1, 2, 4):
        teacher = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
        trainer = make_trainer(
            pruning(kind).double(),
            tmp_path,
            teacher=teacher.double(),
            distillation=0.3,
            accumulation_steps=parts,
            **settings,
        )
        (found[parts],) = gradients_of(trainer, monkeypatch)
    assert ("threshold_deltas" in found[1]) == (stage == "soft") and len(found[1]) > 40
    for parts in (2, 4):
        assert found[parts].keys() == found[1].keys()
        for name, gradient in found[1].items():
            torch.testing.assert_close(found[parts][name], gradient)


def test_accumulation_over_a_last_step_with_fewer_parts(tmp_path, monkeypatch):
    """Twelve sentences in batches of eight: the second step has four, in one part or two."""
    found = {}
    for parts in (1, 2):
        trainer = make_trainer(
            pruning().double(), tmp_path, data=dataset([*LENGTHS, 8, 2, 11, 5]), accumulation_steps=parts,
            learning_rate=1e-12,
        )  # fmt: skip
        found[parts] = gradients_of(trainer, monkeypatch)
    assert len(found[1]) == len(found[2]) == 2
    for large, small in zip(found[1], found[2], strict=True):
        for name, gradient in large.items():
            torch.testing.assert_close(small[name], gradient)


def test_distillation_loss_by_hand():
    logits, teacher = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    expected = -(teacher.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(distillation_loss(logits, teacher), expected)
    assert distillation_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [5.0]])) == 2.5


def test_distillation_takes_its_share_of_the_loss(tmp_path):
    teacher = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    trainer = make_trainer(pruning().train(), tmp_path, teacher=teacher, distillation=0.25)
    batch = trainer.data_collator(list(dataset()))
    loss, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
    own = torch.nn.functional.cross_entropy(outputs.logits, batch["labels"])
    asked = distillation_loss(outputs.logits, batch["teacher_logits"])
    assert loss.item() == pytest.approx(0.75 * own.item() + 0.25 * asked.item())


def test_the_collator_pads_sorts_and_keeps_rows_together():
    """Training batches end with the longest sentence; labels, token types and the teacher's logits move along."""
    teacher = torch.arange(8.0)[:, None]
    examples = [
        {**example, "token_type_ids": [example["row"] % 2] * example["length"]} for example in dataset()
    ]  # fmt: skip
    batch = Collator(PAD, "regression", teacher=teacher)(examples)
    order = sorted(range(8), key=LENGTHS.__getitem__)
    assert batch["attention_mask"].sum(1).tolist() == sorted(LENGTHS)
    assert batch["teacher_logits"].flatten().tolist() == order
    assert batch["labels"].tolist() == [number % 3 for number in order] and batch["labels"].dtype == torch.float
    for place, number in enumerate(order):
        length = LENGTHS[number]
        assert batch["input_ids"][place].tolist() == examples[number]["input_ids"] + [PAD] * (12 - length)
        assert batch["token_type_ids"][place].tolist() == [number % 2] * length + [0] * (12 - length)
    kept = Collator(PAD, "classification")([{k: v for k, v in e.items() if k != "row"} for e in examples])
    assert kept["attention_mask"].sum(1).tolist() == LENGTHS and kept["labels"].dtype == torch.long


def test_prediction_keeps_the_order_of_the_data(tmp_path):
    """Over several batches of mixed lengths, each row is the sentence's own."""
    lengths = [(7 * number) % 17 + 2 for number in range(70)]
    data = dataset(lengths).remove_columns("row")
    model = pruning()
    found = make_trainer(model, tmp_path).predict(data, ignore_keys=[])
    assert found.label_ids.tolist() == [number % 3 for number in range(70)]
    logits, attention_tokens, ffn_tokens = found.predictions
    for number in range(70):
        with torch.no_grad():
            alone = model(torch.tensor([data[number]["input_ids"]]))
        torch.testing.assert_close(torch.from_numpy(logits[number]), alone.logits[0], atol=1e-5, rtol=1e-4)
        assert attention_tokens[number].tolist() == alone.attention_tokens[0].tolist()
        assert ffn_tokens[number].tolist() == alone.ffn_tokens[0].tolist()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(loss):
    state = SimpleNamespace(global_step=30, max_steps=100)
    stop = StopOnDivergence()
    stop.on_log(None, state, None, logs={"loss": 1.0})
    stop.on_log(None, state, None, logs={"train_runtime": loss})
    with pytest.raises(Diverged, match=f"the loss became {loss} by step 30 of 100"):
        stop.on_log(None, state, None, logs={"loss": loss})


def test_training_on_broken_weights_stops(tmp_path):
    """The library would log a loss of 0 for a NaN, unless told not to."""
    model = pruning()
    model.classifier.weight.data[0, 0] = float("nan")
    with pytest.raises(Diverged, match="the loss became nan by step 10 of 20"):
        make_trainer(model, tmp_path, callbacks=[StopOnDivergence()], epochs=20).train()


def test_checkpoints_come_by_time_and_the_last_whole_one_is_found(tmp_path):
    assert last_checkpoint(tmp_path) is None
    trainer = make_trainer(pruning(), tmp_path, callbacks=[CheckpointByTime(minutes=1e-9)], batch_size=2, epochs=3)
    trainer.train()
    names = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert names == ["checkpoint-10", "checkpoint-11"]  # two are kept; none after the last of the 12 steps
    assert last_checkpoint(tmp_path).name == "checkpoint-11"
    (tmp_path / "checkpoint-11" / COMPLETE).unlink()  # the machine died while it was written
    assert last_checkpoint(tmp_path).name == "checkpoint-10"
    rare = make_trainer(pruning(), tmp_path / "rare", callbacks=[CheckpointByTime(minutes=60)], batch_size=2)
    rare.train()
    assert last_checkpoint(tmp_path / "rare") is None


def test_a_process_takes_one_gpu_however_many_it_sees(tmp_path, monkeypatch):
    """Where nobody has hidden the others, as without nvidia-smi, the library would use nn.DataParallel."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    for patched in ("is_bf16_supported", "get_device_capability"):
        monkeypatch.setattr(torch.cuda, patched, lambda *given, **options: (9, 0))
    arguments = training_arguments(TrainingSettings(batch_size=8), tmp_path, data_seed=0)
    assert arguments.device.type == "cuda" and arguments.n_gpu == 1 and arguments.train_batch_size == 8


def test_predictions_from_logits():
    logits = torch.tensor([[0.1, 0.9, 0.0], [2.0, -1.0, 1.0]]).numpy()
    assert read_predictions("classification", logits, [], None, {})["predictions"].tolist() == [1, 0]
    assert read_predictions("regression", logits[:, :1], [], None, {})["predictions"].tolist() == pytest.approx(
        [0.1, 2.0]
    )


def test_outputs_without_regulariser_are_three_arrays():
    """What prediction unpacks: logits, attention tokens, feed-forward tokens."""
    logits = torch.zeros(2, 3)
    assert list(LTPOutput(logits=logits, attention_tokens=logits, ffn_tokens=logits)) == [
        "logits", "attention_tokens", "ffn_tokens",
    ]  # fmt: skip
