#!/usr/bin/env bash
# Train on the machines of a Slurm job. What follows the script are the words of `ecgtwin train`:
#
#   sbatch --nodes=4 --gpus-per-node=8 --time=24:00:00 deploy/slurm-train.sh \
#       all recipe.yaml --corpus s3://lab/corpus --out s3://lab/twin --folder /shared/training
#
# Two minutes before the time is over, and wherever the job is to make room for another one, the
# ranks get a SIGTERM: they write a training checkpoint and end, and the job goes back into the
# queue. There is no word to add for it to go on.
#
# ECGTWIN, the command (default: ecgtwin on the PATH); ECGTWIN_PROCESSES, ranks on a machine
# (default: one for each of its GPUs, else 1); ECGTWIN_PORT, free on the first machine.
#SBATCH --job-name=ecgtwin-train
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=ecgtwin-train-%j.log
set -euo pipefail

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${hosts%%$'\n'*}
port=${ECGTWIN_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
processes=${ECGTWIN_PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}

told_to_end=no
# shellcheck disable=SC2317  # the trap calls it
end_well() {
    told_to_end=yes
    scancel --signal=TERM "$SLURM_JOB_ID" # all that srun has started, not this script
}
trap end_well TERM

# SLURM_NODEID is another one on each machine, so it must not be expanded here.
# shellcheck disable=SC2016
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    bash -c 'exec "$0" train "$@" --node-rank="$SLURM_NODEID"' "${ECGTWIN:-ecgtwin}" "$@" \
    --processes="$processes" --nodes="$SLURM_JOB_NUM_NODES" --rendezvous="$first:$port" &
step=$!

code=0
wait "$step" || code=$?
while kill -0 "$step" 2>/dev/null; do # the trap ends a wait, not the step
    code=0
    wait "$step" || code=$?
done
if [ "$told_to_end" = yes ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
