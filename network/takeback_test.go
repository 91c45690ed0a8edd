package network

import (
	"os/exec"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
)

// TestTakeBack leaves a host as it was, but not while containers run.
func TestTakeBack(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	for _, name := range []string{forwardIPv4, forwardIPv6} {
		if err := sysctl(name, "0"); err != nil {
			t.Fatal(err)
		}
	}
	look := func() string {
		text, err := exec.Command("sh", "-c", "ls /proc/sys/net/ipv4/conf; nft list ruleset; sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding").CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, text)
		}
		return string(text)
	}
	before, yes, config, during := look(), true, testConfig(t), ""
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "six", EnableIPv6: &yes}); err != nil {
		t.Fatal(err)
	}
	n, err := s.Find("six")
	if err != nil {
		t.Fatal(err)
	}
	box, err := s.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ready interfaces to go", func() bool { return veths(t) == 1 })
	during = look()
	if err := TakeBack(t.Context(), config); errs.KindOf(err) != errs.Conflict {
		t.Errorf("while a container runs: %v", err)
	}
	if after := look(); during == before || after != during {
		t.Errorf("something was taken from it:\n%s\nwas\n%s", after, during)
	}
	box.NetNS.Close()
	eventually(t, "the container's interface to go", func() bool { return veths(t) == 0 })
	if err := TakeBack(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if after := look(); after != before {
		t.Errorf("the host is\n%s\nand was\n%s", after, before)
	}
	again := open(t, config)
	if _, err := again.Find("six"); err != nil {
		t.Errorf("the next engine: %v", err)
	}
}
