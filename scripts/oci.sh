#!/bin/bash
# Runs the validation suite of github.com/opencontainers/runtime-tools with
# davit-runtime, and Debian's runc beside it; fails where davit-runtime does worse.
#
#   scripts/oci.sh [-run REGEXP] [-v] [RUNTIME [MARK]]
#
# The suite is a module of its own (test/oci/suite) that ours never sees.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/apt.sh
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath" PATH=$PATH:/usr/sbin:/sbin
verb=oci need_root

flags=()
while [[ ${1:-} == -* ]]; do
  if [[ $1 == -run ]]; then flags+=("$1" "$2"); shift 2; else flags+=("$1"); shift; fi
done
runtime=${1:-$PWD/bin/davit-runtime} mark=${2:-runc}

missing=()
command -v "$mark" >/dev/null || missing+=("$mark")
static_busybox || missing+=(busybox-static)
install_packages "${missing[@]}"

suite=${OCI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/davit-oci}
mkdir -p "$suite/bin"
echo "oci: building the suite"
go -C test/oci/suite build -o "$suite/bin/" github.com/opencontainers/runtime-tools/validation/... github.com/opencontainers/runtime-tools/cmd/runtimetest

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # the root of the root filesystem
mkdir -p "$work"/{bin,dev,etc,proc,sys,tmp}
cp "$(command -v busybox)" "$work/bin/busybox"
for applet in $(busybox --list); do [[ -e $work/bin/$applet ]] || ln -s busybox "$work/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$work/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$work/etc/group"
tar -C "$work" -czf "$suite/rootfs-$(go env GOARCH).tar.gz" .

echo "oci: $("$mark" --version | head -n 1)"
go run ./test/oci -suite "$suite" "${flags[@]}" "$runtime" "$mark"
