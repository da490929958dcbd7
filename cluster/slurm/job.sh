# Run `marey VERB ARGS` on the nodes of a Slurm job. The .sbatch files beside this one end with it.
#
# One node: the command itself, which starts by itself what it needs of Ray. Several: a Ray cluster over all of them by
# `ray symmetric-run`, and the command on the first, where this script runs too.
# shellcheck shell=bash disable=SC2154
set -euo pipefail

nodes=$SLURM_JOB_NUM_NODES
base=${RAY_TMPDIR:-/tmp}
export PATH=$venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0
[ -n "${MLFLOW_TRACKING_URI:-}" ] || unset MLFLOW_TRACKING_URI
unset RAY_ADDRESS

fail() {
    echo "marey: $1" >&2
    exit 2
}

random() {
    od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

# On each node once, with all the CPUs of the job there.
each=(srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpu-bind=none --mpi=none --export=ALL)

# A path of at most 107 bytes is all that a socket of Ray may have.
[ "${#base}" -le 23 ] || fail "RAY_TMPDIR=$base is too long: set it to a folder of each node with at most 23 bytes"
folder=$base/marey-$(random 3)
"${each[@]}" mkdir -m 700 "$folder"
trap '"${each[@]}" rm -rf "$folder" || true' EXIT

# Its number and exit code lie where this script looks for them: srun and symmetric-run have exit codes of their own.
cat >"$folder/driver" <<'END'
folder=$(dirname "$0")
[ -z "${MAREY_JOB_OUTPUT:-}" ] || exec >"$MAREY_JOB_OUTPUT" 2>&1
(echo "$BASHPID" >"$folder/pid" && exec marey "$@")
code=$?
echo "$code" >"$folder/code"
exit "$code"
END

# SIGTERM ends the command with a checkpoint: USR1 comes before the time limit, TERM from `scancel --batch --signal=TERM`.
stopped=
stop() {
    stopped=${stopped:-$1}
    if [ -s "$folder/pid" ]; then
        kill -TERM "$(<"$folder/pid")" 2>/dev/null || true
    else
        kill -TERM "$work" 2>/dev/null || true  # Ray is still starting
    fi
}

if [ "$nodes" -eq 1 ]; then
    export RAY_OVERRIDE_RESOURCES="{\"CPU\": $SLURM_CPUS_ON_NODE}"  # Ray would count all CPUs of the node
    bash "$folder/driver" "$@" &
else
    # `ray symmetric-run` starts beside no other Ray, and ends every Ray of this account on its nodes.
    [ "$(squeue -h -j "$SLURM_JOB_ID" -o %h)" = NO ] || fail "$nodes nodes must be the job's own: add --exclusive"
    mapfile -t names < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
    peer=$(scontrol show node "${names[1]}" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
    # The address of this node on the interface that leads to the others; what its name means here may be 127.0.1.1.
    read -r head port client_port < <("$venv/bin/python" -P - "$peer" <<'END'
import socket, sys
from cluster import ports
with socket.socket(type=socket.SOCK_DGRAM) as probe:
    probe.connect((sys.argv[1], 9))
    print(probe.getsockname()[0], *ports.free(2))
END
    )
    RAY_AUTH_TOKEN=$(random 32)  # srun hands it on with the environment, which this account alone can read
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_ADDRESS=$head:$port RAY_TMPDIR=$folder
    export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=$start_s
    unset RAY_AUTH_TOKEN_PATH
    # shellcheck disable=SC2086  # options are several words
    "${each[@]}" --kill-on-bad-exit=1 bash "$(dirname "${BASH_SOURCE[0]}")/node.sh" \
        --address="$RAY_ADDRESS" --min-nodes="$nodes" --ray-client-server-port="$client_port" \
        --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0 $ray_options \
        -- bash "$folder/driver" "$@" 2>"$folder/srun.log" &
fi
work=$!
trap 'stop time' USR1
trap 'stop user' TERM

code=0
while kill -0 "$work" 2>/dev/null; do  # `wait` ends with each signal
    code=0
    wait "$work" || code=$?
done
again=
if [ -e "$folder/code" ]; then
    code=$(<"$folder/code")
    case $stopped:$code in time:130 | time:143) again=yes ;; esac
else
    [ "$code" -ne 0 ] || code=1
    if [ -e "$folder/srun.log" ]; then cat "$folder/srun.log" >&2; fi
    # Ray was still starting when the time was up, or the command began and has lost a node or its Ray.
    if [ "$stopped" = time ] || { [ -z "$stopped" ] && [ -s "$folder/pid" ]; }; then again=yes; fi
fi

if [ -n "$again" ] && [ "${SLURM_RESTART_COUNT:-0}" -ge "$restarts" ]; then
    echo "marey: not put into the queue again after $restarts times: submit the job again to go on" >&2
elif [ -n "$again" ]; then
    trap - EXIT  # back in the queue it has no nodes
    "${each[@]}" rm -rf "$folder" || true
    echo "marey: back into the queue; the same command goes on there"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
