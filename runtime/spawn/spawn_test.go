package spawn

import "testing"

func TestDefault(t *testing.T) {
	needRoot(t)
	out := shell(t, "cat /proc/self/mountinfo; id; hostname; ls -la /dev; cat /proc/self/status; ls -l /proc/self/fd; cat /proc/self/limits; ls -la /sys/fs/cgroup; ls -la /sys/firmware /proc/scsi; ps; pwd; cat /proc/self/cgroup")
	t.Log(out)
}
