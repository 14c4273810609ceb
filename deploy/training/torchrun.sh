#!/usr/bin/env bash
# Trains on the GPUs of this node, and goes on where an earlier run in OUTPUT stopped.
#
#     deploy/training/torchrun.sh CONFIG OUTPUT
#
# Environment: GPUS (8) processes on this node; NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), MASTER_PORT (29500).
# SIGTERM and SIGINT stop after the step, with a state to resume from.
# Exit status: 0 when OUTPUT/checkpoint is there; 75 when stopped before, start it again; any other is an error.
set -euo pipefail

if [[ $# -ne 2 ]]; then
    echo "usage: $0 CONFIG OUTPUT" >&2
    exit 64
fi
config=$1
output=$2
node_rank=${NODE_RANK:-0}

if [[ -e $output/checkpoint ]]; then
    echo "$output/checkpoint is there already: nothing to do"
    exit 0
fi

# --resume refuses a directory with nothing to resume from, and a start without it one that holds states.
resume=()
if compgen -G "$output/states/checkpoint-*/trainer_state.json" >/dev/null; then
    resume=(--resume)
elif [[ -d $output/states ]]; then
    echo "$output/states holds no whole state: the run starts from the beginning" >&2
    rm -rf "$output/states"
fi

# torchrun itself must not act on SIGTERM: it would kill its workers after 30 seconds, in the middle of saving.
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

trap : TERM INT # only to end `wait`
while true; do
    status=0
    wait "$agent" || status=$?
    kill -0 "$agent" 2>/dev/null || break
    # Again and again: workers that are still loading do not listen yet.
    while kill -0 "$agent" 2>/dev/null; do
        stop_workers
        sleep 5
    done
done

if [[ $status -eq 0 && $node_rank -eq 0 && ! -e $output/checkpoint ]]; then
    echo "$output: stopped before its end; start it again to go on" >&2
    exit 75
fi
exit "$status"
