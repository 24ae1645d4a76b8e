"""A made-up study in real run directories, for the tests of tables and plots: curves like those of the paper."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ltp.results.run import write_predictions, write_run

LAYERS, TOKENS, EXAMPLES = 6, 27.0, 400


def predictions(labels: np.ndarray, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """Binary predictions of which exactly the given share is right."""
    right = np.zeros(len(labels), bool)
    right[: round(accuracy * len(labels))] = True
    return np.where(rng.permutation(right), labels, 1 - labels)


def metrics_of(method: str, stage: str, seed: int, accuracy: float, relative: float, **settings) -> dict:
    """The metrics of a run, as a stage hands them to write_run."""
    per_layer = np.linspace(1, max(0.05, 2 * relative - 1), LAYERS + 1)
    return {
        "status": "complete",
        "reason": None,
        "task": settings.pop("task", "rotten_tomatoes"),
        "model": "all-MiniLM-L6-v2",
        "method": method,
        "stage": stage,
        "seed": seed,
        "settings": {"epochs": 1.0, "batch_size": 32, "learning_rate": 2e-5, "seed": seed, **settings},
        "primary_metric": "accuracy",
        "metrics": {s: {"accuracy": accuracy, "loss": 0.4} for s in ("validation", "test")},
        "examples": {"train": 5000, "validation": EXAMPLES, "test": EXAMPLES},
        "flops": {
            s: {"gflops": 0.6 * relative, "dense_gflops": 0.6, "relative": relative} for s in ("validation", "test")
        },
        "layers": {
            "threshold": None
            if method in ("dense", "topk")
            else [settings.get("final_token_threshold", 0.004) * (i + 1) / LAYERS for i in range(LAYERS)],
            "attention_tokens": list(TOKENS * per_layer[:-1]),
            "ffn_tokens": list(TOKENS * per_layer[1:]),
        },
        "data_fingerprint": "d" * 64,
        "parent": None,
        "environment": {"python": "3.11", "torch": "2.13.0"},
        "timing": {"train_seconds": 12.5, "tokens_per_second": 1000.0, "finished_at": "2026-01-01T00:00:00"},
    }


def write(directory: Path, metrics: dict, noise: int = 0) -> Path:
    """Write a complete run directory; returns the path of its metrics.json."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"method": metrics["method"]}))
    (directory / "model.safetensors").write_bytes(bytes(1000))
    labels = np.random.default_rng(7).integers(0, 2, EXAMPLES)
    lengths = np.sort(np.random.default_rng(8).integers(5, 50, EXAMPLES))
    rng = np.random.default_rng([noise, metrics["seed"]])
    splits = {}
    for split in ("validation", "test"):
        made = predictions(labels, metrics["metrics"][split]["accuracy"], rng)
        metrics["metrics"][split]["accuracy"] = float((made == labels).mean())
        relative = metrics["flops"][split]["relative"]
        spread = (1 - relative) * np.random.default_rng(9).normal(0, 0.05, EXAMPLES)
        share = np.clip(relative + (1 - relative) * (lengths - 27) / 90 + spread, 0.01, 1.0)
        splits[split] = {"labels": labels, "predictions": made, "lengths": lengths, "relative_flops": share}
    write_predictions(directory, splits)
    write_run(directory, metrics)
    return directory / "metrics.json"


def forget_lengths(tables: Path) -> None:
    """Make tables those of a version that wrote no lengths.csv."""
    (tables / "lengths.csv").unlink()
    sums = json.loads((tables / ".tables.json").read_text())
    del sums["lengths.csv"]
    (tables / ".tables.json").write_text(json.dumps(sums))


def write_study(root: Path, seeds=(0,), task: str = "rotten_tomatoes", dense: float = 0.84) -> list[Path]:
    """A whole study: dense, 2 × 3 ltp (soft and hard), 4 top-k and 4 manual runs for each seed."""
    paths = []
    for seed in seeds:
        home = root / task / f"seed~{seed}"
        shift = 0.005 * (seed - np.mean(seeds))
        base = metrics_of("dense", "base", seed, dense + shift, 1.0, task=task)
        paths.append(write(home / "dense/base", base, 1))

        def accuracy(relative, loss, dense=dense, shift=shift):
            return dense + shift - loss * (1 - relative) ** 3

        for t, temperature in enumerate((5e-4, 1e-3)):
            for n, lambda_ in enumerate((0.05, 0.1, 0.2)):
                relative = (0.78, 0.62, 0.45)[n] - 0.03 * t + 0.004 * seed
                settings = {"temperature": temperature, "lambda": lambda_, "final_token_threshold": 0.004, "task": task}
                place = home / f"ltp/temperature~{temperature:g}/lambda~{lambda_:g}"
                score = accuracy(relative, 0.3 + 0.1 * t)
                soft = metrics_of("ltp", "soft", seed, score - 0.03, relative, **dict(settings))
                hard = metrics_of("ltp", "hard", seed, score, relative, **dict(settings))
                for metrics in (soft, hard):
                    bend = [1.0, 1.1, 0.9, 1.3, 1.5, 2.2]
                    metrics["layers"]["threshold"] = [
                        0.004 * (i + 1) / LAYERS * (1 + (n + 1 + t / 2) * 0.2 * bend[i]) for i in range(LAYERS)
                    ]
                paths.append(write(place / "soft", soft, 10 + n + 5 * t))
                paths.append(write(place / "hard/lr~2e-05", hard, 20 + n + 5 * t))
        for n, rate in enumerate((-0.3, 0.1, 0.4, 0.7)):
            relative = (0.48, 0.63, 0.76, 0.88)[n]
            topk = metrics_of("topk", "hard", seed, accuracy(relative, 0.7), relative, token_keep_rate=rate, task=task)
            paths.append(write(home / f"topk/keep_rate~{rate:g}/hard/lr~2e-05", topk, 30 + n))
        for n, value in enumerate((0.003, 0.005, 0.007, 0.009)):
            relative = (0.93, 0.8, 0.64, 0.5)[n]
            manual = metrics_of(
                "manual", "hard", seed, accuracy(relative, 0.9), relative, final_token_threshold=value, task=task
            )
            paths.append(write(home / f"manual/threshold~{value:g}/hard/lr~2e-05", manual, 40 + n))
    return paths
