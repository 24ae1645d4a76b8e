# The pretrained encoder, fine-tuned on the task, unpruned: where every other run starts from.
BASE = "{task}/seed~{seed}/dense/base"


rule train_base:
    input:
        data="<results>/{task}/data/task.json",
        encoder=GRID.encoder_inputs(),
    output:
        metrics=f"<results>/{BASE}/metrics.json",
    log:
        f"<logs>/{BASE}.log",
    benchmark:
        f"<benchmarks>/{BASE}.tsv"
    priority: PRIORITIES["base"]
    conda:
        "../envs/ltp.yaml"
    threads:
        lambda wildcards: max(
            progress.base_threads(GRID, workflow.cores if workflow.local_exec else math.inf), GRID.config.processes
        )
    resources:
        **training_resources(BASE),
    params:
        **training("base", BASE),
    message:
        "{params.name}"
    shell:
        TRAIN
