# Debian packages, for the scripts that need some. Sourced, not run.

# install_packages PACKAGE...: installs them and starts no service of theirs;
# nothing if none is named. Says what to do where it cannot.
install_packages() {
  (($#)) || return 0
  if ! command -v apt-get >/dev/null; then
    echo "${0##*/}: no apt-get here; please install: $*" >&2
    return 1
  fi
  if [[ $(id -u) != 0 ]]; then
    echo "${0##*/}: needs root to install: $*" >&2
    return 1
  fi
  echo "${0##*/}: installing $*" >&2
  (
    export DEBIAN_FRONTEND=noninteractive
    # A package's service must not start: for the time of the install,
    # invoke-rc.d is told no, unless the machine already says so.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
      printf '#!/bin/sh\nexit 101\n' >$policy
      chmod +x $policy
      trap 'rm -f $policy' EXIT
    fi
    update_packages
    apt-get install -q -y --no-install-recommends "$@" >/dev/null
  )
}

# update_packages: what Debian has today.
update_packages() { apt-get update -q >/dev/null; }

# static_busybox: is the machine's busybox the static one? A dynamic one cannot
# run in an image of its own.
static_busybox() { command -v busybox >/dev/null && ! readelf -l "$(command -v busybox)" 2>/dev/null | grep -q INTERP; }

# fetch_package PACKAGE DIR: unpacks a package into DIR without installing it.
fetch_package() {
  local tmp
  tmp=$(mktemp -d)
  (
    trap 'rm -rf "$tmp"' EXIT
    cd "$tmp"
    apt-get download -q -o APT::Sandbox::User=root "$1" >/dev/null
    dpkg-deb -x ./*.deb "$2"
  )
}
