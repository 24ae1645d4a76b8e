#!/bin/sh
# What pruning is worth on a GPU, on a full-size shape: answers and training steps.
#
#     benchmarks/gpu.sh DATA OUTPUT
#
# DATA is a folder of long text from `ltp data` (512 word pieces); OUTPUT gets speed-gpu.csv and training-gpu.txt.
set -eu
data=$1 output=$2
mkdir -p "$output"
python3 -m ltp benchmark roberta-base --data "$data" --flops 0.5 --batch 1 8 32 128 --lengths 32 128 512 \
    --sentences 128 --repeats 5 --only hf-dynamic hf-sorted hf-compiled ltp-dense ltp --output "$output/speed-gpu.csv"
python3 benchmarks/training.py roberta-base "$data" --batch 32 --sentences 128 --repeats 5 > "$output/training-gpu.txt"
cat "$output/training-gpu.txt"
