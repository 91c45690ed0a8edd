#!/bin/bash
# Starts a private engine and a registry in ROOT, and waits until both answer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
verb=up

root=$(root_of "${1:-}")
need_root "$root"
bin=$PWD/bin
for b in davit davitd davit-shim davit-registry; do
  [[ -x $bin/$b ]] || die "bin/$b is missing; build it first: make"
done
# A unix socket's address holds 107 bytes, and the engine makes longer ones than davit.sock.
((${#root} <= 60)) || die "the path of ROOT is too long for unix sockets (${#root} characters, 60 at most): $root"
mkdir -p "$root"

# One start at a time on this host, so that two engines never choose the same
# address range or port. The lock is not handed on to what we start (9>&-).
lock=/run/lock
[[ -d $lock ]] || lock=/tmp
exec 9>"$lock/davit-up.lock"
flock 9

if pid=$(alive "$root/davitd.pid" davitd); then
  die "an engine is already up in $root (pid $pid); stop it with: make down ROOT=$root"
fi

# What is started here and then fails is stopped here again.
started=()
undo() { local p; for p in "${started[@]}"; do end "$p" 5 || true; done; }
trap undo EXIT

# The registry, on a port that the kernel gives it.
if pid=$(alive "$root/registry.pid" davit-registry); then end "$pid" 5; fi
rm -f "$root/registry.addr"
setsid "$bin/davit-registry" serve --addr 127.0.0.1:0 --addr-file "$root/registry.addr" --root "$root/registry" \
  >>"$root/registry.log" 2>&1 </dev/null 9>&- &
registry=$!
started+=("$registry")
registry_up() { gone "$registry" || [[ -s $root/registry.addr ]]; }
wait_until 20 registry_up && ! gone "$registry" || { tail -n 5 "$root/registry.log" >&2; die "the registry does not start; its log: $root/registry.log"; }
echo "$registry" >"$root/registry.pid"
addr=$(cat "$root/registry.addr")

# The engine.
rm -f "$root/davit.sock"
setsid "$bin/davitd" \
  --data-root "$root/data" --exec-root "$root/exec" --pidfile "$root/davitd.pid" \
  --host "unix://$root/davit.sock" --bridge "$(bridge_of "$root")" --cgroup-parent "/davit-$(tag_of "$root")" \
  --registry-mirror "http://$addr" >>"$root/davitd.log" 2>&1 </dev/null 9>&- &
engine=$!
started+=("$engine")
export DAVIT_HOST=unix://$root/davit.sock
answers() { gone "$engine" || [[ -S $root/davit.sock && $(curl -fsS --max-time 2 --unix-socket "$root/davit.sock" http://davit/_ping 2>/dev/null) == OK ]]; }
if ! command -v curl >/dev/null; then
  answers() { gone "$engine" || "$bin/davit" version >/dev/null 2>&1; }
fi
wait_until 20 answers || { tail -n 5 "$root/davitd.log" >&2; die "the engine does not answer; its log: $root/davitd.log"; }
! gone "$engine" || { tail -n 5 "$root/davitd.log" >&2; die "the engine does not start; its log: $root/davitd.log"; }
echo "$engine" >"$root/davitd.pid"
trap - EXIT
disown -a

cat <<END
The engine is up in $root (pid $engine), with a registry at $addr that stands in for docker.io.

  export PATH=$bin:\$PATH
  export DAVIT_HOST=unix://$root/davit.sock

  davit version
  docker -H unix://$root/davit.sock ps

Stop it with: make down ROOT=$root
END
