# Every run's metrics.json → five tables. lengths.csv is not declared: a study that was finished before there was one
# stays finished.
rule tables:
    input:
        metrics=run_outputs(),
    output:
        runs=report("<results>/runs.csv", category="Tables", caption="../report/runs.rst"),
        frontier=report("<results>/frontier.csv", category="Tables", caption="../report/frontier.rst"),
        summary=report("<results>/summary.csv", category="Tables", caption="../report/summary.rst"),
        matched=report("<results>/matched.csv", category="Tables", caption="../report/matched.rst"),
    log:
        "<logs>/tables.log",
    benchmark:
        "<benchmarks>/tables.tsv"
    conda:
        "../envs/ltp.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        recipe=RECIPES["tables"],
    message:
        "tables"
    script:
        "../scripts/tables.py"
