#!/bin/bash
# Installs what the tests need beyond Go: Debian packages, and a docker client
# if none is on PATH. Does nothing when all is there; never starts a service.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/apt.sh

# program or file that a package brings -> package
needs=(
  "cmd:gcc gcc"                                   # cgo: race detector, libseccomp
  "cmd:pkg-config pkg-config"                     # finds libseccomp
  "file:/usr/include/seccomp.h libseccomp-dev"    # the differential test of the seccomp compiler
  "file:/usr/include/stdio.h libc6-dev"
  "cmd:busybox busybox-static"                    # the test image
  "cmd:ip iproute2"
  "file:/usr/lib/cni/host-local containernetworking-plugins" # networks of CNI
  "cmd:nft nftables"                              # tests read our tables with it
  "cmd:iptables iptables"                         # firewalls that are not ours
  "cmd:docker-registry docker-registry"           # a registry that is not ours
  "cmd:skopeo skopeo"                             # an image client that is not ours
  "cmd:tmux tmux"                                 # terminals for run -it
  "cmd:socat socat"
  "cmd:mkfs.ext4 e2fsprogs"                       # small disks to fill
  "cmd:losetup mount"
  "cmd:curl curl"
  "cmd:dbus-daemon dbus-daemon"                   # a bus that is not ours
  "file:/usr/lib/systemd/systemd systemd"         # runs in the tests alone, as a user's
  "cmd:ps procps"
  "file:/usr/lib/python3/dist-packages/docker/__init__.py python3-docker"  # an SDK that is not ours
  "cmd:docker-compose docker-compose"             # a client of clients
)

have() { case $1 in cmd:*) command -v "${1#cmd:}" >/dev/null || [[ -x /usr/sbin/${1#cmd:} || -x /sbin/${1#cmd:} ]] ;; file:*) [[ -e ${1#file:} ]] ;; esac; }

missing=()
for n in "${needs[@]}"; do
  read -r probe package <<<"$n"
  have "$probe" || missing+=("$package")
done
if ! static_busybox && [[ " ${missing[*]} " != *" busybox-static "* ]]; then missing+=(busybox-static); fi
docker=; PATH="$PWD/bin/tools:$PATH" command -v docker >/dev/null || docker=missing

if [[ ${#missing[@]} == 0 && -z $docker ]]; then
  echo "setup: everything is there"
  exit 0
fi
install_packages "${missing[@]}"
if [[ -n $docker ]]; then
  # docker-cli is the client alone. Where Debian has only docker.io, which
  # brings a daemon, the client is taken out of the package without installing it.
  ((${#missing[@]})) || update_packages
  if [[ -n $(apt-cache madison docker-cli 2>/dev/null) ]]; then
    install_packages docker-cli
  else
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    fetch_package docker.io "$tmp"
    mkdir -p bin/tools
    install -m 0755 "$tmp/usr/bin/docker" bin/tools/docker
  fi
fi
echo "setup: done"
