#!/usr/bin/env bash
# Trains on the GPUs of this node, and continues an earlier run in OUTPUT.
#
#     deploy/training/torchrun.sh CONFIG OUTPUT
#
# Environment: GPUS (8), the number of processes on this node; NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), MASTER_PORT (29500).
# On SIGTERM and SIGINT the run finishes its step and saves a state to resume from.
# Exit status: 0 if OUTPUT/checkpoint exists; 75 if the run was stopped before its end (start it again); any other is an error.
set -euo pipefail

if [[ $# -ne 2 ]]; then
    echo "usage: $0 CONFIG OUTPUT" >&2
    exit 64
fi
config=$1
output=$2
node_rank=${NODE_RANK:-0}

if [[ -e $output/checkpoint ]]; then
    echo "$output/checkpoint already exists: nothing to do"
    exit 0
fi

# With --resume, the command refuses a directory without a complete state; without it, a directory with states.
resume=()
if compgen -G "$output/states/checkpoint-*/trainer_state.json" >/dev/null; then
    resume=(--resume)
elif [[ -d $output/states ]]; then
    echo "$output/states has no complete state: the run starts from the beginning" >&2
    rm -rf "$output/states"
fi

# torchrun must ignore SIGTERM: otherwise it would kill its workers after 30 seconds, while they save.
(
    trap '' TERM
    exec torchrun --signals-to-handle SIGHUP \
        --nnodes "${NNODES:-1}" --node-rank "$node_rank" --nproc-per-node "${GPUS:-8}" \
        --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}" \
        -m training.cli train "$config" "$output" ${resume[@]+"${resume[@]}"}
) &
agent=$!

stop_workers() {
    local -a workers
    read -ra workers < <(cat "/proc/$agent/task/"*/children 2>/dev/null | tr '\n' ' ') || true
    if [[ ${#workers[@]} -gt 0 ]]; then
        kill -TERM "${workers[@]}" 2>/dev/null || true
    fi
}

trap : TERM INT # its only effect: a signal ends `wait`
while true; do
    status=0
    wait "$agent" || status=$?
    kill -0 "$agent" 2>/dev/null || break
    # Repeat the signal, because workers that are still loading do not handle it yet.
    while kill -0 "$agent" 2>/dev/null; do
        stop_workers
        sleep 5
    done
done

if [[ $status -eq 0 && $node_rank -eq 0 && ! -e $output/checkpoint ]]; then
    echo "$output: stopped before its end; start it again to continue" >&2
    exit 75
fi
exit "$status"
