# Weights and thresholds learned together under soft masks: one run per temperature and λ.
rule train_soft:
    input:
        data="<results>/{task}/data/task.json",
        parent="<results>/{task}/seed~{seed}/ltp/converted/conversion.json",
        teacher=teacher,
    output:
        metrics="<results>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/soft/metrics.json",
    log:
        "<logs>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/soft.log",
    benchmark:
        "<benchmarks>/{task}/seed~{seed}/ltp/temperature~{temperature}/lambda~{weight}/soft.tsv"
    priority: PRIORITIES["soft"]
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GRID.config.gpus,
    params:
        **training("soft"),
    message:
        "{params.name}"
    shell:
        TRAIN
