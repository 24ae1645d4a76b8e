# What learned thresholds have to beat: top-k pruning and thresholds set by hand, trained as long and in the same way;
# and the control, the dense model trained as long.
BASELINE_HARD = "{task}/seed~{seed}/{baseline}/hard/lr~{lr}"


rule train_baseline:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/{baseline}/converted/conversion.json",
        teacher=teacher,
    output:
        metrics=f"<results>/{BASELINE_HARD}/metrics.json",
    log:
        f"<logs>/{BASELINE_HARD}.log",
    benchmark:
        f"<benchmarks>/{BASELINE_HARD}.tsv"
    priority: PRIORITIES["baseline"]
    conda:
        "../envs/ltp.yaml"
    threads: GRID.config.processes
    resources:
        **training_resources(BASELINE_HARD),
    params:
        **training("hard", BASELINE_HARD),
    message:
        "{params.name}"
    shell:
        TRAIN
