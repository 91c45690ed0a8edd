#!/bin/bash
# Runs containers with davit-runtime under Debian's podman, containerd and
# docker.io, each a private instance; installs them if need be, without starting
# a service of theirs.
#
#   scripts/peers.sh [flag of go test...]
#
# DAVIT_PEERS_RUNTIME names another runtime, to see what that one does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/apt.sh
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath" PATH=$PATH:/usr/sbin:/sbin
verb=peers need_root

missing=()
command -v podman >/dev/null || missing+=(podman)
command -v conmon >/dev/null || missing+=(conmon)
command -v containerd-shim-runc-v2 >/dev/null && command -v ctr >/dev/null || missing+=(containerd)
command -v dockerd >/dev/null && [[ -x /usr/bin/docker ]] || missing+=(docker.io)
command -v script >/dev/null || missing+=(bsdutils)
static_busybox || missing+=(busybox-static)
install_packages "${missing[@]}"

export DAVIT_BIN=$PWD/bin
go test -count=1 -timeout 10m -v "$@" ./test/peers | grep -v '^=== '
