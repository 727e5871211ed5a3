#!/usr/bin/env bash
# Make the shipped `tiny` weights from nothing: corpora, training of all three networks, demos, card.
# Real ECGs are taken from ECGTWIN_REAL_DATA (default ../shared/data) where they are.
set -euo pipefail
work=$1
ecgtwin=.venv/bin/ecgtwin
python=.venv/bin/python
real=${ECGTWIN_REAL_DATA:-../shared/data}/ptbxl
shipped=ecgtwin/weights/tiny

$ecgtwin ingest simulated "$work/simulated" --persons 3000 --visits 4 --seed 2025
corpora=(--corpus "$work/simulated")
if [ -d "$real" ]; then
    $ecgtwin ingest ptbxl "$real" "$work/ptbxl"
    corpora+=(--corpus "$work/ptbxl")
else
    echo "no PTB-XL at $real: the weights will have seen simulated persons only" >&2
fi
$ecgtwin train all tiny "${corpora[@]}" --out "$work/tiny" --folder "$work/training" --processes 2 --half
if [ ! -e "$work/tiny/twin.json" ]; then
    echo "training was ended before it was done; the same command goes on" >&2
    exit 1
fi

mkdir -p "$shipped"
rm -f "$shipped"/*
cp "$work"/tiny/* "$shipped/"
$ecgtwin demo --from-scratch --out "$work/demo-scratch"
$python scripts/from_scratch.py "$work/demo-scratch"
$ecgtwin demo --out "$work/demo"
runs=("simulated=$work/demo/results.json" "from scratch=$work/demo-scratch/results.json")
if [ -d "$real" ]; then
    $ecgtwin demo --source "$real" --out "$work/demo-ptbxl"
    runs+=("PTB-XL=$work/demo-ptbxl/results.json")
fi
$python scripts/weights_card.py "$work/training" "$shipped" "${runs[@]}"
$python scripts/readme_picture.py "$work/demo"
