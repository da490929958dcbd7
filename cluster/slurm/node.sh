# One node's part in a job on several: `node.sh [OPTIONS OF ray symmetric-run] -- COMMAND`, as job.sh calls it.
#
# It always fails, so that srun tells the other nodes as soon as the first one has ended: by itself, Ray would have them
# look for their head for a minute. What Ray writes is shown only where it has not come as far as to run the command.
# shellcheck shell=bash disable=SC2154
export MAREY_JOB_OUTPUT=/proc/$$/fd/1
told=
trap 'told=yes' TERM
ray symmetric-run --num-cpus="$SLURM_CPUS_ON_NODE" "$@" >"$RAY_TMPDIR/symmetric-run.log" 2>&1 &
wait "$!"
if [ -n "$told" ]; then
    ray stop --force >/dev/null 2>&1
elif ! [ -e "$RAY_TMPDIR/code" ]; then
    echo "marey: Ray has ended on $SLURMD_NODENAME:"
    tail -n 50 "$RAY_TMPDIR/symmetric-run.log"
fi
exit 1
