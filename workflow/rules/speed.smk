# The operating points on the clock, against every unpruned way to run the model: `snakemake --cores N speed`.
# Not part of `all`: it wants the machine to itself, and its figures are this machine's.
rule speed:
    input:
        rules.tables.output,
    output:
        table=report("<results>/speed.csv", category="Tables", caption="../report/speed.rst"),
        markdown="<results>/speed.md",
        figure=report(
            expand("<results>/plots/speed-vs-flops.{suffix}", suffix=["png", "svg"], allow_missing=True),
            category="Figures",
            caption="../report/speed.rst",
        ),
    log:
        "<logs>/speed.log",
    benchmark:
        "<benchmarks>/speed.tsv"
    conda:
        "../envs/ltp.yaml"
    threads: lambda wildcards: workflow.cores if workflow.local_exec else 4
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        recipe=RECIPES["speed"],
        results=lambda wildcards, output: os.path.dirname(output.table),
    message:
        "speed"
    shell:
        "python -m ltp benchmark --study {params.results:q} --output {output.table:q}"
        " --sentences 48 --repeats 3 > {log:q} 2>&1"
