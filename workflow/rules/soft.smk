# Weights and thresholds learned together under soft masks: one run per temperature and λ.
SOFT = "{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/soft"


rule train_soft:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/ltp/converted/conversion.json",
        teacher=teacher,
    output:
        metrics=f"<results>/{SOFT}/metrics.json",
    log:
        f"<logs>/{SOFT}.log",
    benchmark:
        f"<benchmarks>/{SOFT}.tsv"
    priority: PRIORITIES["soft"]
    conda:
        "../envs/ltp.yaml"
    threads: GRID.config.processes
    resources:
        **training_resources(SOFT),
    params:
        **training("soft", SOFT),
    message:
        "{params.name}"
    shell:
        TRAIN


# One training for all FLOPs targets in the place of λ: each step drops its tokens for a target drawn at random.
BUDGET_SOFT = "{task}/seed~{seed}/{budget}/soft"


rule train_budget_soft:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/{budget}/converted/conversion.json",
        teacher=teacher,
    output:
        metrics=f"<results>/{BUDGET_SOFT}/metrics.json",
    log:
        f"<logs>/{BUDGET_SOFT}.log",
    benchmark:
        f"<benchmarks>/{BUDGET_SOFT}.tsv"
    priority: PRIORITIES["soft"]
    conda:
        "../envs/ltp.yaml"
    threads: GRID.config.processes
    resources:
        **training_resources(BUDGET_SOFT),
    params:
        **training("soft", BUDGET_SOFT),
    message:
        "{params.name}"
    shell:
        TRAIN
