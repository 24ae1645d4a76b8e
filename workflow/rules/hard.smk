# The learned thresholds fixed, weights fine-tuned with the tokens below them removed: one run per learning rate.
HARD = "{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/hard/lr~{lr}"


rule train_hard:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/soft/metrics.json",
        teacher=teacher,
    output:
        metrics=f"<results>/{HARD}/metrics.json",
    log:
        f"<logs>/{HARD}.log",
    benchmark:
        f"<benchmarks>/{HARD}.tsv"
    priority: PRIORITIES["hard"]
    conda:
        "../envs/ltp.yaml"
    threads: GRID.config.processes
    resources:
        **training_resources(HARD),
    params:
        **training("hard", HARD),
    message:
        "{params.name}"
    shell:
        TRAIN


# Thresholds for a FLOPs target, set on the weights that one training made for all targets: nothing is trained here.
BUDGET_HARD = "{task}/seed~{seed}/{budget}/target~{target}/hard"


rule set_budget:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/{budget}/soft/metrics.json",
    output:
        metrics=f"<results>/{BUDGET_HARD}/metrics.json",
    log:
        f"<logs>/{BUDGET_HARD}.log",
    benchmark:
        f"<benchmarks>/{BUDGET_HARD}.tsv"
    priority: PRIORITIES["hard"]
    conda:
        "../envs/ltp.yaml"
    threads: GRID.config.processes
    resources:
        **training_resources(BUDGET_HARD),
    params:
        **training("hard", BUDGET_HARD),
    message:
        "{params.name}"
    shell:
        TRAIN
