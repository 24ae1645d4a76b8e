# Text → tokens, once per task, whatever the number of runs.
rule prepare_data:
    input:
        lambda wildcards: GRID.data_inputs(wildcards.task),
    output:
        task="<results>/{task}/data/task.json",
    log:
        "<logs>/{task}/data.log",
    benchmark:
        "<benchmarks>/{task}/data.tsv"
    priority: PRIORITIES["data"]
    conda:
        "../envs/ltp.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        recipe=RECIPES["data"],
        directory=lambda wildcards, output: os.path.dirname(output.task),
        flags=lambda wildcards: GRID.data_flags(wildcards.task),
    message:
        "{wildcards.task} data"
    shell:
        "python -m ltp data --output={params.directory:q} {params.flags} > {log:q} 2>&1"
