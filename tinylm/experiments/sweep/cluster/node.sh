
# What a node does: it clones the repository at the sweep's commit, runs the experiment there, and sends it back.
set -euo pipefail
child='' stopped=''
trap 'cd /; rm -rf "$work"' EXIT
trap 'stopped=yes' INT TERM # the trial's processes got the signal, too
trap 'stopped=yes; [ -z "$child" ] || kill -INT -- "-$child"' USR1 # only this shell got it

rm -rf "$work"
git clone --quiet --no-checkout "$origin" "$work"
cd "$work"
git checkout --quiet --detach "$commit"
setup
for setting in "${configuration[@]}"; do
    dvc config --quiet --local "${setting%%=*}" "${setting#*=}"
done

set -m # a process group of its own, which Ctrl-C can interrupt
dvc exp run --name "$name" "${options[@]}" </dev/null &
child=$!
set +m
while :; do # a signal ends `wait`, and not the trial
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break
done
if [ "$status" != 0 ]; then
    [ -z "$stopped" ] || echo 'error: the job was stopped from outside: exited with 130'
    exit "$status"
fi
dvc exp push "${push[@]}" origin "$name"
