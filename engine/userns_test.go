package engine

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

func TestChooseUserNS(t *testing.T) {
	host, auto, remap := UserNS{}, UserNS{Auto: true}, UserNS{Remap: &Remap{}}
	const docker = "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode"
	for _, c := range []struct {
		name   string
		config UserNS
		h      container.HostConfig
		kind   usernsKind
		of     string
		err    string
	}{
		{"as ever", host, container.HostConfig{}, usernsHost, "", ""},
		{"asked for", host, container.HostConfig{UsernsMode: "auto"}, usernsAuto, "", ""},
		{"private", host, container.HostConfig{UsernsMode: "private"}, usernsAuto, "", ""},
		{"by default", auto, container.HostConfig{}, usernsAuto, "", ""},
		{"not this one", auto, container.HostConfig{UsernsMode: "host"}, usernsHost, "", ""},
		{"another's", host, container.HostConfig{UsernsMode: "container:web"}, usernsShared, "web", ""},
		{"remapped", remap, container.HostConfig{}, usernsRemap, "", ""},
		{"remapped, private", remap, container.HostConfig{UsernsMode: "private"}, usernsRemap, "", ""},
		{"remapped, but ids of its own", remap, container.HostConfig{UsernsMode: "auto"}, usernsAuto, "", ""},

		{"another's network", auto, container.HostConfig{NetworkMode: "container:web"}, usernsShared, "web", ""},
		{"another's processes", remap, container.HostConfig{PidMode: "container:web"}, usernsShared, "web", ""},
		{"another's network, nothing private", host, container.HostConfig{NetworkMode: "container:web"}, usernsHost, "", ""},

		{"privileged by default", auto, container.HostConfig{Privileged: true}, usernsHost, "", ""},
		{"the host's network by default", auto, container.HostConfig{NetworkMode: "host"}, usernsHost, "", ""},
		{"the host's processes by default", auto, container.HostConfig{PidMode: "host"}, usernsHost, "", ""},
		{"the host's IPC by default", auto, container.HostConfig{IpcMode: "host"}, usernsHost, "", ""},
		{"privileged in another's network", auto, container.HostConfig{Privileged: true, NetworkMode: "container:web"}, usernsHost, "", ""},

		{"privileged, remapped", remap, container.HostConfig{Privileged: true}, 0, "", docker + " (--privileged with userns-remap): use --userns host"},
		{"privileged, asked for", host, container.HostConfig{Privileged: true, UsernsMode: "auto"}, 0, "", "(--privileged with --userns auto): use --userns host"},
		{"privileged, another's", host, container.HostConfig{Privileged: true, UsernsMode: "container:x"}, 0, "", "--privileged with --userns container:x"},
		{"the host's network, remapped", remap, container.HostConfig{NetworkMode: "host"}, 0, "", "cannot share the host's network namespace when user namespaces are enabled (--network host"},
		{"the host's processes, remapped", remap, container.HostConfig{PidMode: "host", UsernsMode: "private"}, 0, "", "cannot share the host PID namespace when user namespaces are enabled (--pid host with --userns private)"},
		{"the host's processes, asked for", auto, container.HostConfig{PidMode: "host", UsernsMode: "auto"}, usernsAuto, "", ""},
		{"the host's network, asked for", auto, container.HostConfig{NetworkMode: "host", UsernsMode: "auto"}, usernsAuto, "", ""},
		{"another's network, own ids", auto, container.HostConfig{NetworkMode: "container:web", UsernsMode: "auto"}, 0, "", "leave --userns out, or use --userns container:web"},
		{"no container", host, container.HostConfig{UsernsMode: "container:"}, 0, "", "container:<name|id>"},
		{"Podman's", host, container.HostConfig{UsernsMode: "keep-id"}, 0, "", `invalid USER mode "keep-id"`},
	} {
		kind, of, err := chooseUserNS(&c.h, c.config)
		switch {
		case c.err != "":
			if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.err)
			}
		case err != nil || kind != c.kind || of != c.of:
			t.Errorf("%s: %d %q %v, want %d %q", c.name, kind, of, err, c.kind, c.of)
		}
	}
}
