# What learned thresholds have to beat: top-k pruning and thresholds set by hand, trained as long and in the same way.
rule train_baseline:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/{baseline}/converted/conversion.json",
        teacher=teacher,
    output:
        metrics="<results>/{task}/seed~{seed}/{baseline}/hard/lr~{lr}/metrics.json",
    log:
        "<logs>/{task}/seed~{seed}/{baseline}/hard/lr~{lr}.log",
    benchmark:
        "<benchmarks>/{task}/seed~{seed}/{baseline}/hard/lr~{lr}.tsv"
    priority: PRIORITIES["baseline"]
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GRID.config.gpus,
    params:
        **training("hard"),
    message:
        "{params.name}"
    shell:
        TRAIN
