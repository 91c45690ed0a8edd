#!/bin/bash
# Runs Go tests as root in a virtual machine: Debian's kernel, cgroup v2 alone,
# all controllers, AppArmor, none of this host's limits. Nothing of the host is
# touched: the machine has a disk of its own, made for the run, and no network.
#
#   scripts/vmtest.sh [-run regexp] [-v] [-all] [-shell] [package...]
#
# -run     only these tests
# -v       the whole output, not only failures and skips
# -all     the attacks of test/attack too, which take twice as long as all else
# -shell   no tests: a shell in the machine; `exit` ends it
#
# VMTEST_DEADLINE (seconds, default 1800) bounds the run, VMTEST_MEMORY is the
# machine's in MiB, VMTEST_CACHE names the folder for the kernel and the last output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/apt.sh

packages=(./runtime/cgroup ./runtime/cgroup/dbus ./runtime/cgroup/systemd ./runtime/spawn ./runtime/shim ./runtime/seccomp)
packages+=(./runtime/oci ./runtime/hook)
only='' verbose='' shell=''
while (($#)); do
  case $1 in
    -run) only=${2:?-run needs a regular expression}; shift 2 ;;
    -v) verbose=1; shift ;;
    -all) packages+=(./test/attack); shift ;;
    -shell) shell=1; shift ;;
    -*) die "unknown option $1; the head of scripts/vmtest.sh lists them" ;;
    *) break ;;
  esac
done
(($# == 0)) || packages=("$@")
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath" PATH=$PATH:/usr/sbin:/sbin

cache=${VMTEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/davit-vmtest}
deadline=${VMTEST_DEADLINE:-1800}
mkdir -p "$cache"
work=$(mktemp -d)
finish() { # ends the machine of this run alone: by its own pid file
  local pid
  if pid=$(alive "$work/qemu.pid" qemu-system-x86_64); then end "$pid" 2; fi
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

missing=()
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
command -v mke2fs >/dev/null || missing+=(e2fsprogs)
command -v newuidmap >/dev/null || missing+=(uidmap)
static_busybox || missing+=(busybox-static)
install_packages "${missing[@]}"

# unpack_kernel PACKAGE DIR: the kernel, and those of its modules that a machine
# without hardware can use. The package is never installed.
unpack_kernel() {
  local tree=$work/kernel version
  mkdir "$tree"
  fetch_package "$1" "$tree" || { update_packages; fetch_package "$1" "$tree"; }
  version=$(ls "$tree/lib/modules")
  find "$tree/lib/modules/$version/kernel/drivers" -mindepth 1 -maxdepth 1 \
    ! -name virtio ! -name block ! -name char ! -name net -exec rm -rf {} +
  find "$tree/lib/modules/$version/kernel/drivers/net" -mindepth 1 -maxdepth 1 -type d ! -name ipvlan ! -name vxlan -exec rm -rf {} +
  busybox depmod -b "$tree" "$version"
  rm -rf "$2"
  mkdir -p "$2/lib"
  mv "$tree/lib/modules" "$2/lib/modules"
  mv "$tree/boot/vmlinuz-$version" "$2/vmlinuz"
}

# initramfs FILE: what finds the disk: a shell and the disk's driver.
initramfs() {
  local root=$work/initramfs modules module
  modules=$(echo "$kernel"/lib/modules/*)
  mkdir -p "$root/bin" "$root/dev" "$root/disk" "$root/modules"
  cp "$(command -v busybox)" "$root/bin/busybox"
  install -m 0755 scripts/vm/boot.sh "$root/init"
  # A line of modules.dep is a module and all that it needs, the deepest last.
  awk -F': *' '/\/virtio_(pci|blk)\.ko:/ { for (i = split($2, d, " "); i > 0; i--) print d[i]; print $1 }' "$modules/modules.dep" |
    awk '!seen[$0]++' | while read -r module; do
      cp "$modules/$module" "$root/modules/"
      echo "${module##*/}"
    done >"$root/order"
  (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$1"
}

# add_program PROGRAM: copies a program of this machine, and the libraries that
# it needs, to the same places in the virtual one.
add_program() {
  local file
  file=$(command -v "$1")
  for file in "$file" $(ldd "$file" 2>/dev/null | grep -o '/[^ ]*'); do
    mkdir -p "$root${file%/*}"
    cp -L -p --remove-destination "$file" "$root$file"
  done
}

# disk FILE: the root file system, with the tests and what they need.
disk() {
  local applet rel package
  root=$work/root
  mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,etc,dev,proc,sys,run,tmp,root,var/tmp,davit/bin,davit/programs,davit/src}
  for applet in bin sbin lib lib64; do ln -s "usr/$applet" "$root/$applet"; done
  chmod 1777 "$root/tmp" "$root/var/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in $(busybox --list); do [[ -e $root/bin/$applet ]] || ln -s busybox "$root/bin/$applet"; done
  ln -s /bin/busybox "$root/sbin/modprobe" # where the kernel looks for it
  for applet in sh bash newuidmap newgidmap tar; do add_program "$applet"; done
  # What tests of their own speak with: CNI plugins, a systemd, a bus, criu, file systems, packet filters. Nothing starts them by itself.
  for applet in /usr/lib/cni/bridge /usr/lib/cni/host-local /usr/lib/systemd/systemd dbus-daemon criu mkfs.ext4 mkfs.xfs ip nft iptables{,-restore} ip6tables-restore; do
    ! command -v "$applet" >/dev/null || add_program "$applet"
  done
  for applet in /usr/lib/systemd/user /usr/share/dbus-1 /usr/lib/*/xtables; do
    [[ ! -d $applet ]] || { mkdir -p "$root${applet%/*}"; cp -r "$applet" "$root${applet%/*}/"; }
  done
  cp -r "$kernel/lib/modules" "$root/lib/"
  install -m 0755 scripts/vm/init.sh "$root/sbin/init"
  printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n' >"$root/etc/group"
  printf 'user:100000:65536\n' | tee "$root/etc/subuid" >"$root/etc/subgid"
  cp -r bin/. "$root/davit/bin/"
  go build -o "$root/davit/programs/" $(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./test/...)
  git ls-files -co --exclude-standard '*/testdata/*' | cpio_copy "$root/davit/src"
  for package in "${packages[@]}"; do
    rel=$(go list -f '{{.Dir}}' "$package")
    rel=${rel#"$PWD"/}
    mkdir -p "$root/davit/src/$rel"
    go test -c -o "$root/davit/src/$rel/vm.test" "./$rel"
    [[ ! -e $root/davit/src/$rel/vm.test ]] || echo "$rel"
  done >"$root/davit/packages"
  printf '%s' "$only" >"$root/davit/only"
  [[ -z $shell ]] || touch "$root/davit/shell"
  mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1,root_owner=0:0 -d "$root" "$1" 4G >/dev/null
}

# cpio_copy DIR: copies the files that standard input names.
cpio_copy() { tar -cf - --no-recursion -T - | tar -xf - -C "$1"; }

package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image-/{print $2; exit}')
if [[ -z $package ]]; then
  update_packages
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/{print $2; exit}')
fi
kernel=$cache/$package-2 # the number says which modules unpack_kernel keeps
(
  flock 9 # another run may be at it
  [[ -e $kernel/vmlinuz ]] || { echo "vmtest: unpacking $package"; unpack_kernel "$package" "$kernel"; }
) 9>"$cache/lock"

[[ -n $shell ]] || echo "vmtest: building"
make --no-print-directory -s build
initramfs "$work/initrd"
disk "$work/disk"

# The first serial port is the console, the second one takes what the tests say.
machine=(qemu-system-x86_64 -accel tcg,thread=multi -cpu max,la57=off -smp 2 -m "${VMTEST_MEMORY:-2048}"
  -nodefaults -no-user-config -display none -no-reboot -pidfile "$work/qemu.pid"
  -kernel "$kernel/vmlinuz" -initrd "$work/initrd"
  -drive "if=virtio,format=raw,cache=unsafe,file=$work/disk")
line="console=ttyS0 panic=-1 mitigations=off random.trust_cpu=on apparmor=1 hugepages=16"
if [[ -n $shell ]]; then
  "${machine[@]}" -serial mon:stdio -append "$line quiet"
  exit
fi

began=$SECONDS
echo "vmtest: booting $package"
timeout -k 5 "$deadline" "${machine[@]}" -serial "file:$work/console" -serial stdio -append "$line" </dev/null 2>"$work/qemu.err" |
  tee "$work/log" | awk -v verbose="$verbose" -f scripts/vm/report.awk &
wait $! && status=0 || status=$?
cp "$work/log" "$cache/last.log"
cp "$work/console" "$cache/console.log"
cat "$work/qemu.err" >&2
if ! grep -q '^=== end' "$work/log"; then
  tail -n 20 "$work/console" >&2
  die "the machine ended after $((SECONDS - began)) s (of $deadline), before the tests did; see $cache/last.log and console.log"
fi
echo "vmtest: $((SECONDS - began)) s in the machine; the whole output: $cache/last.log"
exit "$status"
