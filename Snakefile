# Learned token pruning as a study: one grid in, tables and plots out. `snakemake --cores N` runs config/grid.yaml,
# `snakemake --cores N --configfile config/paper.yaml` another grid, `snakemake --cores N soft` a part.
from snakemake.utils import min_version

min_version("9.19")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/base.smk"
include: "workflow/rules/convert.smk"
include: "workflow/rules/soft.smk"
include: "workflow/rules/hard.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/plots.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/speed.smk"


localrules:
    all,
    base,
    soft,
    hard,
    baselines,


rule all:
    default_target: True
    input:
        run_outputs(),  # so that a run that was removed is made again, though there are tables without it
        rules.tables.output,
        rules.plots.output,
        rules.page.output,
    message:
        "all done"


rule base:
    input:
        run_outputs(("dense", "base")),


rule soft:
    input:
        run_outputs(("ltp", "soft"), ("budget", "soft")),


rule hard:
    input:
        run_outputs(("ltp", "hard"), ("budget", "hard")),


rule baselines:
    input:
        run_outputs(("dense+", "hard"), ("topk", "hard"), ("topk_budget", "hard"), ("manual", "hard")),


onstart:
    acquire_study_lock()


onsuccess:
    print(progress.final_summary(GRID.results_dir))
