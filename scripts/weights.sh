#!/usr/bin/env bash
# Make the shipped `tiny` weights from nothing: corpora, training of all three networks, card.
# Real ECGs are taken from ECGTWIN_REAL_DATA (default ../shared/data) where they are.
set -euo pipefail
work=$1
ecgtwin=.venv/bin/ecgtwin
real=${ECGTWIN_REAL_DATA:-../shared/data}/ptbxl

$ecgtwin ingest simulated "$work/simulated" --persons 3000 --visits 4 --seed 2025
corpora=(--corpus "$work/simulated")
if [ -d "$real" ]; then
    $ecgtwin ingest "$real" "$work/ptbxl"
    corpora+=(--corpus "$work/ptbxl")
else
    echo "no PTB-XL at $real: the weights will have seen simulated persons only" >&2
fi
$ecgtwin train tiny "${corpora[@]}" --out "$work/tiny" --folder "$work/training" --processes 2 --half
echo "to ship them: copy $work/tiny/* to ecgtwin/weights/tiny/ and $work/training/*.json* to benchmarks/results/"
