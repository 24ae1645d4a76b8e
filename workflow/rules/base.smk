# The pretrained encoder, fine-tuned on the task, unpruned: where every other run starts from.
rule train_base:
    input:
        data="<results>/{task}/data/task.json",
    output:
        metrics="<results>/{task}/seed~{seed}/dense/base/metrics.json",
    log:
        "<logs>/{task}/seed~{seed}/dense/base.log",
    benchmark:
        "<benchmarks>/{task}/seed~{seed}/dense/base.tsv"
    priority: PRIORITIES["base"]
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GRID.config.gpus,
    params:
        **training("base"),
    message:
        "{params.name}"
    shell:
        TRAIN
