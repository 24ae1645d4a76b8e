# Base model → model that prunes: another config, and thresholds beside the same weights.
CONVERTED = "{task}/seed~{seed}/{pruning}/converted"


rule convert:
    input:
        base="<results>/{task}/seed~{seed}/dense/base/metrics.json",
    output:
        conversion=f"<results>/{CONVERTED}/conversion.json",
    log:
        f"<logs>/{CONVERTED}.log",
    benchmark:
        f"<benchmarks>/{CONVERTED}.tsv"
    priority:
        lambda wildcards: PRIORITIES[
            "convert_ltp" if wildcards.pruning in ("ltp", "budget", "topk_budget") else "convert_baseline"
        ]
    conda:
        "../envs/ltp.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 600 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        recipe=RECIPES["convert"],
        directory=lambda wildcards: directory(CONVERTED, wildcards),
        flags=lambda wildcards: GRID.conversion_flags(directory(CONVERTED, wildcards)),
    message:
        "{wildcards.task} {wildcards.pruning} conversion"
    shell:
        "python -m ltp convert --output={params.directory:q} {params.flags} > {log:q} 2>&1"
