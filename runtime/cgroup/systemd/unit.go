// Package systemd puts containers into control groups that systemd knows: each
// into a transient scope unit.
//
// It owns the conversation with systemd over D-Bus and the translation of a
// group's settings to unit properties, so that systemd does not undo them when
// it next looks (daemon-reload). The group itself stays package cgroup's, which
// writes all limits into its files as well: properties know only some. It must
// not know what a container is or who runs in the group.
//
// systemd makes no scope without a process in it. A placeholder, a copy of this
// process that waits for its end, founds the scope until [Group.Release]; the
// container's own process joins it there in the same way as any group.
//
// A Group may be used by several goroutines at once except for Remove, which
// must be the last call.
package systemd

import (
	"fmt"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// Unit names a scope and where it goes.
type Unit struct {
	Slice string // such as system.slice
	Name  string // such as davit-1a2b.scope
}

// maxName is systemd's limit on the names of units (UNIT_NAME_MAX).
const maxName = 255

// Parse reads a cgroupsPath of the form "slice:prefix:name", which comes to
// prefix-name.scope in the slice. An empty path stands for the container's id
// as the name and the prefix davit, an empty slice for system.slice, or
// user.slice with a user's systemd, and an empty prefix for none.
func Parse(cgroupsPath, id string, user bool) (Unit, error) {
	if cgroupsPath == "" {
		cgroupsPath = ":davit:" + escape(id)
	}
	parts := strings.Split(cgroupsPath, ":")
	if len(parts) != 3 {
		return Unit{}, errs.New(errs.InvalidParameter, `invalid cgroupsPath %q: with systemd it has the form "slice:prefix:name"`, cgroupsPath)
	}
	u := Unit{Slice: parts[0], Name: parts[2] + ".scope"}
	if parts[1] != "" {
		u.Name = parts[1] + "-" + u.Name
	}
	if u.Slice == "" {
		u.Slice = "system.slice"
		if user {
			u.Slice = "user.slice"
		}
	}
	switch {
	case parts[2] == "":
		return Unit{}, errs.New(errs.InvalidParameter, "invalid cgroupsPath %q: it names no scope", cgroupsPath)
	case strings.HasSuffix(parts[2], ".slice"):
		return Unit{}, errs.New(errs.InvalidParameter, "invalid cgroupsPath %q: a slice holds no processes", cgroupsPath)
	case !validName(u.Name):
		return Unit{}, errs.New(errs.InvalidParameter, "invalid cgroupsPath %q: %q is no name of a unit", cgroupsPath, u.Name)
	case !validSlice(u.Slice):
		return Unit{}, errs.New(errs.InvalidParameter, "invalid cgroupsPath %q: %q is no name of a slice", cgroupsPath, u.Slice)
	}
	return u, nil
}

// validName follows systemd.unit(5). There are no instances of scopes.
func validName(name string) bool {
	for _, c := range []byte(name) {
		if !plain(c) && c != ':' && c != '\\' {
			return false
		}
	}
	return len(name) <= maxName
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// escape writes what a unit's name cannot have as \xNN, as systemd-escape(1).
func escape(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// validSlice follows systemd.slice(5): a-b.slice lies in a.slice.
func validSlice(name string) bool {
	base, ok := strings.CutSuffix(name, ".slice")
	if !ok || !validName(name) {
		return false
	}
	if base == "-" { // the root
		return true
	}
	for part := range strings.SplitSeq(base, "-") {
		if part == "" {
			return false
		}
	}
	return true
}
