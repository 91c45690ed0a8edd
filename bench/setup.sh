#!/bin/bash
# Installs what `make bench` measures networks with, and which no test needs.
# Other engines are measured if they are there: apt-get install docker.io podman.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/apt.sh

missing=()
for program in iperf3 wrk; do
  command -v "$program" >/dev/null || missing+=("$program")
done
install_packages "${missing[@]}"
