# Base model → model that prunes: another config, and thresholds beside the same weights.
rule convert:
    input:
        base="<results>/{task}/seed~{seed}/dense/base/metrics.json",
    output:
        conversion="<results>/{task}/seed~{seed}/{pruning}/converted/conversion.json",
    log:
        "<logs>/{task}/seed~{seed}/{pruning}/converted.log",
    benchmark:
        "<benchmarks>/{task}/seed~{seed}/{pruning}/converted.tsv"
    priority: lambda wildcards: PRIORITIES["convert_ltp" if wildcards.pruning == "ltp" else "convert_baseline"]
    conda:
        "../../environment.yml"
    threads: 1
    params:
        recipe=RECIPES["convert"],
        directory=lambda wildcards, output: os.path.dirname(output.conversion),
        flags=lambda wildcards, output: GRID.conversion_flags(os.path.dirname(output.conversion)),
    message:
        "{wildcards.task} {wildcards.pruning} conversion"
    shell:
        "python -m ltp convert --output={params.directory:q} {params.flags} > {log:q} 2>&1"
