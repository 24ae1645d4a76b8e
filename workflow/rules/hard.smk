# The learned thresholds fixed, weights fine-tuned with the tokens below them removed: one run per learning rate.
rule train_hard:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/soft/metrics.json",
        teacher=teacher,
    output:
        metrics="<results>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/hard/lr~{lr}/metrics.json",
    log:
        "<logs>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/hard/lr~{lr}.log",
    benchmark:
        "<benchmarks>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/hard/lr~{lr}.tsv"
    priority: PRIORITIES["hard"]
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
