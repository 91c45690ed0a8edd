#!/bin/bash
# From an empty engine to the output of a container, offline: makes the image
# hello-world, pushes it to a registry on loopback, and runs it from there.
# Needs root. An installed Docker is not touched: everything is private to ROOT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
verb=demo

root=$(root_of "${1:-${TMPDIR:-/tmp}/davit-demo}")
need_root "$root"

if alive "$root/davitd.pid" davitd >/dev/null; then
  scripts/down.sh "$root" >/dev/null
fi
# Start from nothing, but only in a folder that a demo made.
if [[ -d $root && -n $(ls -A "$root") ]]; then
  [[ -e $root/.davit-demo ]] || die "$root is not empty and was not made by a demo; choose another folder: make demo ROOT=dir"
  rm -rf "${root:?}"/*
fi
mkdir -p "$root"
touch "$root/.davit-demo"

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
[[ -t 1 && -z ${NO_COLOR:-} ]] || say() { printf '\n==> %s\n' "$*"; }
# show CMD...: what a person would type, then its output.
show() { printf '$ %s\n' "$*"; "$@"; }
# quiet CMD...: its output only if it fails.
quiet() { local out; out=$("$@" 2>&1) || { printf '%s\n' "$out" >&2; die "failed: $*"; }; }

say "An engine and a registry of their own, in $root"
scripts/up.sh "$root" >"$root/up.txt"
trap 'scripts/down.sh "$root" >/dev/null 2>&1' ERR
head -n 1 "$root/up.txt"
registry=$(cat "$root/registry.addr")
export PATH=$PWD/bin:$PATH DAVIT_HOST=unix://$root/davit.sock

say "An image of one small static program, imported, tagged, pushed, and forgotten"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$root/image/hello" ./demo/hello-world
echo "\$ tar -c hello | davit import -c 'CMD [\"/hello\"]' - $registry/library/hello-world"
quiet bash -c 'tar -C "$1" --owner 0 --group 0 --numeric-owner -c hello | davit import -c "CMD [\"/hello\"]" - "$2"' - \
  "$root/image" "$registry/library/hello-world:latest"
echo "\$ davit push $registry/library/hello-world"
quiet davit push "$registry/library/hello-world:latest"
echo "\$ davit rmi $registry/library/hello-world"
quiet davit rmi "$registry/library/hello-world:latest"
# Layers nobody uses any more are collected a moment later; then the pull below really downloads.
for _ in {1..50}; do
  compgen -G "$root/data/images/content/blobs/sha256/*" >/dev/null || break
  sleep 0.1
done

say "The first run: the image comes from the registry"
show davit run hello-world

say "The second run: the message alone"
show davit run hello-world

# Milliseconds of one run, the client's start included.
once() { local a b; a=${EPOCHREALTIME/[.,]/}; davit run --rm "$@" >/dev/null; b=${EPOCHREALTIME/[.,]/}; echo $((b - a)); }
median() { for _ in {1..15}; do once "$@"; done | sort -n | awk '{v[NR] = $1} END {printf "%.1f", v[int((NR + 1) / 2)] / 1000}'; }
say "How long that takes, from the shell's fork to the exit code (median of 15)"
printf '  davit run --rm hello-world                  %6s ms\n' "$(median hello-world)"
printf '  davit run --rm --network none hello-world   %6s ms\n' "$(median --network none hello-world)"
trap - ERR

say "The engine still runs. Go on with it:"
sed -n '2,$p' "$root/up.txt"
