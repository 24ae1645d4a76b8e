# Tables and example sentences → one page to look at.
rule examples:
    input:
        tables=rules.tables.output,
        data="<results>/{task}/data/task.json",
    output:
        examples="<results>/{task}/examples.json",
    log:
        "<logs>/{task}/examples.log",
    benchmark:
        "<benchmarks>/{task}/examples.tsv"
    conda:
        "../envs/ltp.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2500 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        recipe=RECIPES["examples"],
        folder=lambda wildcards, output: os.path.dirname(output.examples),
    message:
        "{wildcards.task} examples"
    shell:
        "python -m ltp explain --examples -- {params.folder:q} > {log:q} 2>&1"


rule page:
    input:
        tables=rules.tables.output,
        examples=[f"<results>/{task}/examples.json" for task in GRID.config.tasks],
    output:
        page="<results>/index.html",
    log:
        "<logs>/page.log",
    benchmark:
        "<benchmarks>/page.tsv"
    conda:
        "../envs/ltp.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        recipe=RECIPES["page"],
        results=lambda wildcards, output: os.path.dirname(output.page),
    message:
        "page"
    shell:
        "python -m ltp report -- {params.results:q} > {log:q} 2>&1"
