#!/bin/bash
# Stops the engine that lives in ROOT, its containers and its registry, and
# removes what they left in the kernel. Images, containers' records and logs
# stay in ROOT. It works as well when the engine was killed before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
verb=down

root=$(root_of "${1:-}")
need_root "$root"
[[ -d $root ]] || die "there is no engine in $root: the folder does not exist"
engine=$(alive "$root/davitd.pid" davitd) || engine=
registry=$(alive "$root/registry.pid" davit-registry) || registry=
bridge=$(bridge_of "$root")

# shims: pid of each shim that serves a container of this ROOT. A shim writes
# its pid to state.json; a recycled pid is told by the program's name.
shims() {
  local f pid
  for f in "$root"/exec/containers/*/state.json; do
    [[ -e $f ]] || continue
    pid=$(sed -nE 's/.*"shimPid":[[:space:]]*([0-9]+).*/\1/p' "$f" | head -n 1)
    [[ -n $pid && $(cat "/proc/$pid/comm" 2>/dev/null) == davit-shim ]] && echo "$pid"
  done
  return 0
}

was_up=$engine$registry$(shims)
if [[ -z $was_up && ! -e /sys/class/net/$bridge ]]; then
  die "no engine is up in $root"
fi

# Containers end as users know it, one second after being asked to.
if [[ -n $engine && -S $root/davit.sock ]]; then
  running=$(timeout 10 bin/davit -H "unix://$root/davit.sock" ps -q --no-trunc 2>/dev/null) || running=
  if [[ -n $running ]]; then
    # shellcheck disable=SC2086  # one argument per container
    timeout 60 bin/davit -H "unix://$root/davit.sock" stop -t 1 $running >/dev/null 2>&1 || true
  fi
fi
if [[ -n $engine ]]; then end "$engine" 15; fi
# What is left now belongs to an engine that was killed: a shim takes its
# container with it when it dies.
for pid in $(shims); do
  kill -KILL "$pid" 2>/dev/null || true
  wait_until 5 gone "$pid" || true
done
if [[ -n $registry ]]; then end "$registry" 5; fi

# Bridges, tables and kernel parameters stay for the next engine, unless told.
restored() {
  bin/davitd --data-root "$root/data" --exec-root "$root/exec" --bridge "$bridge" --restore-host 2>"$root/restore.log"
}
if [[ -d $root/data ]]; then
  wait_until 10 restored || { tail -n 3 "$root/restore.log" >&2; echo "${0##*/}: the host's network is not as it was" >&2; }
  rm -f "$root/restore.log"
fi

# What a killed engine could not clear away.
tag=$(tag_of "$root")
groups=$(find /sys/fs/cgroup -depth -type d -path "*/davit-$tag*" 2>/dev/null || true)
for g in $groups; do
  wait_until 5 bash -c '! [[ -d $0 ]] || rmdir "$0" 2>/dev/null' "$g" || echo "${0##*/}: $g is still in use" >&2
done
awk '{print $5}' /proc/self/mountinfo | grep -F -- "$root/" | sort -r | while read -r m; do umount -l -- "$m"; done || true

rm -rf "$root/exec" "$root/davit.sock" "$root/davitd.pid" "$root/registry.pid" "$root/registry.addr"
echo "The engine in $root is down. Its images, containers and logs are kept there; to forget them: rm -rf $root"
