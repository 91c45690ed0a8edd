#!/bin/busybox sh
# Process 1 of scripts/vmtest.sh's machine: makes the machine what a server is,
# runs the tests, and turns it off.
export PATH=/davit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/var/tmp DAVIT_BIN=/davit/bin DAVIT_PROGRAMS=/davit/programs
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t tmpfs -o nosuid,nodev,mode=755 run /run
mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock
ln -sf /proc/self/fd /dev/fd
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm /dev/shm
mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue
mount -t securityfs -o nosuid,nodev,noexec security /sys/kernel/security
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control; done
# systemd makes its mounts shared; programs that start containers meet that everywhere.
mount --make-rshared /
hostname vm
ip link set lo up
modprobe overlay
modprobe loop
ulimit -Hn 1048576
ulimit -Sn 1024

if [ -e /davit/shell ]; then
  setsid cttyhack sh
else
  stty -F /dev/ttyS1 raw -echo
  (
    echo "=== machine Linux $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers), up after $(cut -d. -f1 /proc/uptime) s"
    failed=0
    set -- -test.v -test.timeout=20m
    [ ! -s /davit/only ] || set -- "$@" "-test.run=$(cat /davit/only)"
    while read -r package <&3; do
      echo "=== package $package"
      began=$(date +%s)
      (cd "/davit/src/$package" && exec ./vm.test "$@") </dev/null 3<&-
      code=$?
      [ $code = 0 ] || failed=1
      echo "=== ended $package $code $(($(date +%s) - began))"
    done 3</davit/packages
    echo "=== end $failed"
  ) >/dev/ttyS1 2>&1
fi
sync
poweroff -f
