"""The names of methods, stages, metrics and selections, and how readers see them: one table of labels for all."""

from __future__ import annotations

LEARNED_METHODS = ("budget", "ltp")  # the first that a study has is the one that others are compared with
PRUNING_METHODS = (*LEARNED_METHODS, "topk", "topk_budget", "manual")
METHODS = ("dense", "dense+", *PRUNING_METHODS)  # dense+, the control, is dense, trained as long as the longest
STAGES = ("base", "soft", "hard")
FINAL_STAGES = ("base", "hard")  # soft runs are steps on the way, not models to deploy

ALL_TASKS = "all"  # in the place of a task in tables: the mean over them

PACKAGED_MODEL = "all-MiniLM-L6-v2"
PACKAGED_TASKS = ("rotten_tomatoes", "imdb", "bbc_news")

# What "LEARNED minus another" is called where scores are compared.
LEARNED_SHORT = {"budget": "budget", "ltp": "learned"}
# A method in a legend or a table, and in a sentence.
METHOD_NAMES = {
    "dense": "dense",
    "dense+": "dense, trained as long",
    "budget": "learned budget",
    "ltp": "LTP",
    "topk": "top-k",
    "topk_budget": "top-k, trained for budgets",
    "manual": "manual thresholds",
}
# In a legend with figures of its own, and in a list of counts.
METHOD_SHORT = {
    "dense": "dense",
    "dense+": "dense+",
    "budget": "budget",
    "ltp": "LTP",
    "topk": "top-k",
    "topk_budget": "top-k budget",
    "manual": "manual",
}
METHOD_PHRASES = {
    "dense": "no pruning",
    "dense+": "no pruning, trained as long as the longest of the models that prune",
    "budget": "thresholds learned for a FLOPs target",
    "ltp": "learned thresholds",
    "topk": "top-k pruning",
    "topk_budget": "top-k pruning trained for budgets",
    "manual": "thresholds set by hand",
}

METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "macro_f1": "macro F1",
    "matthews": "Matthews correlation × 100",
    "pearson": "Pearson correlation × 100",
    "spearman": "Spearman correlation × 100",
    "entity_f1": "entity F1",
    "token_accuracy": "accuracy over words",
    "answer_f1": "F1 of the answers",
    "exact_match": "exact matches",
    "mean": "mean of the metrics × 100",
}

# Which examples a setting is picked on and which it is reported on, by how the data got its test split.
SELECTION_NOTES = {
    "split": "picked on the validation split, reported on the test split; both cut out of the training text",
    "half": "picked on one half of the validation split, reported on the other",
    "validation": "picked and reported on the same validation split, as in the paper",
    "given": "picked on the validation split, reported on the data's own test split",
    "kept": "reported on text kept aside; its labels are the original model's answers",
}
