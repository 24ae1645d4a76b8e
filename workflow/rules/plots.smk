# Tables → figures, four a task, as PNG and SVG. The fourth, flops-by-length, is not declared: a study that was finished
# before there was one stays finished.
rule plots:
    input:
        rules.tables.output,
    output:
        accuracy=report(
            figures("accuracy-vs-flops"),
            category="Figures",
            caption="../report/accuracy_vs_flops.rst",
        ),
        tokens=report(
            figures("tokens-per-layer"),
            category="Figures",
            caption="../report/tokens_per_layer.rst",
        ),
        thresholds=report(
            figures("thresholds-per-layer"),
            category="Figures",
            caption="../report/thresholds_per_layer.rst",
        ),
    log:
        "<logs>/plots.log",
    benchmark:
        "<benchmarks>/plots.tsv"
    conda:
        "../envs/ltp.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        recipe=RECIPES["plots"],
        results=lambda wildcards, input: os.path.dirname(input[0]),
    message:
        "plots"
    shell:
        "python -m ltp plots {params.results:q} > {log:q} 2>&1"
