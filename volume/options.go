package volume

import (
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// requires lists the driver's options with those that each needs beside it.
var requires = map[string][]string{"type": {"device"}, "device": {"type"}, "o": {"device", "type"}, "size": nil}

// checkOptions checks what a volume is asked to be made with. The texts are
// Docker's.
func checkOptions(options map[string]string) error {
	bad := func(format string, args ...any) error { return errs.New(errs.InvalidParameter, format, args...) }
	for _, name := range slices.Sorted(maps.Keys(options)) {
		others, known := requires[name]
		if !known {
			return bad("invalid option: %q", name)
		}
		for _, other := range others {
			if _, ok := options[other]; !ok {
				return bad("missing required option: %q", other)
			}
		}
		if strings.ContainsRune(options[name], 0) {
			return bad("option %q holds a null byte", name)
		}
	}
	if _, err := sizeOption(options); err != nil {
		return err
	}
	if _, mounted := options["type"]; !mounted {
		return nil
	}
	if _, sized := options["size"]; sized {
		return bad("option \"size\" limits a directory of the engine's own: with type %q say o=size=... where its file system takes that", options["type"])
	}
	_, err := readMount(options)
	return err
}

// sizeOption is the option size, in bytes; 0 for none.
func sizeOption(options map[string]string) (int64, error) {
	text, ok := options["size"]
	if !ok {
		return 0, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n < 0 {
		return 0, errs.New(errs.InvalidParameter, "invalid size: '%s'", text)
	}
	return n, nil
}

func describeOptions(options map[string]string) string {
	if len(options) == 0 {
		return "none"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(options)) {
		parts = append(parts, k+"="+hideSecrets(options[k]))
	}
	return strings.Join(parts, " ")
}

// hideSecrets takes passwords out of what errors show.
func hideSecrets(o string) string {
	words := strings.Split(o, ",")
	for i, w := range words {
		if key, _, ok := strings.Cut(w, "="); ok && (key == "password" || key == "pass") {
			words[i] = key + "=********"
		}
	}
	return strings.Join(words, ",")
}

// filesystem is what is mounted on a volume's data, as the options say.
type filesystem struct {
	kind, device    string
	bind, recursive bool
	attributes      uint64      // of the mount
	flags           []string    // of the filesystem
	data            [][2]string // what only it understands; a value of noValue has none
}

// noValue stands for the value of an option without one.
const noValue = "\x00"

// attributes are options of a mount, whatever its filesystem.
var attributes = map[string]uint64{
	"ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV, "noexec": unix.MOUNT_ATTR_NOEXEC,
	"noatime": unix.MOUNT_ATTR_NOATIME, "strictatime": unix.MOUNT_ATTR_STRICTATIME, "nodiratime": unix.MOUNT_ATTR_NODIRATIME,
}

// readMount reads type, device and o.
func readMount(options map[string]string) (*filesystem, error) {
	f := &filesystem{kind: options["type"], device: options["device"]}
	for _, word := range strings.Split(options["o"], ",") {
		key, value, valued := strings.Cut(word, "=")
		attr, isAttr := attributes[word]
		switch {
		case isAttr:
			f.attributes |= attr
			if word == "ro" {
				f.flags = append(f.flags, word)
			}
		case word == "bind":
			f.bind = true
		case word == "rbind":
			f.bind, f.recursive = true, true
		case word == "sync" || word == "dirsync" || word == "mand" || word == "lazytime":
			f.flags = append(f.flags, word)
		case word == "" || slices.Contains(meaningless, word):
		case word == "remount" || word == "loop" || key == "loop":
			return nil, errs.New(errs.InvalidParameter, "option o: %q is no option of a mount: attach a file by losetup, and give the loop device", word)
		case slices.Contains(propagations, word):
			return nil, errs.New(errs.InvalidParameter, "option o: %q: say how mounts propagate where a container mounts the volume's source itself, with --mount type=bind,bind-propagation=%s", word, word)
		case valued:
			f.data = append(f.data, [2]string{key, value})
		default:
			f.data = append(f.data, [2]string{word, noValue})
		}
	}
	if f.bind && len(f.data) > 0 {
		return nil, errs.New(errs.InvalidParameter, "option o: %q is for a file system, not for a bind", f.data[0][0])
	}
	if !f.bind && (f.kind == "" || f.kind == "none") {
		return nil, errs.New(errs.InvalidParameter, "option type: %q is no file system: with o=bind it is a directory, else name one, such as tmpfs, ext4 or nfs", f.kind)
	}
	return f, nil
}

// meaningless are options that ask for what is the case anyway.
var meaningless = []string{"defaults", "rw", "suid", "dev", "exec", "async", "atime", "diratime", "relatime", "nomand", "nolazytime", "auto", "noauto", "user", "nouser", "_netdev", "nofail"}

var propagations = []string{"shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"}

// resolve puts the address of a server in place of its name: the kernel asks
// no name server.
func (f *filesystem) resolve(lookup func(string) (*net.IPAddr, error)) error {
	switch f.kind {
	case "nfs", "nfs4", "cifs", "smb3":
	default:
		return nil
	}
	for i, o := range f.data {
		if o[0] != "addr" || net.ParseIP(o[1]) != nil {
			continue
		}
		ip, err := lookup(o[1])
		if err != nil {
			return errs.New(errs.InvalidParameter, "option o: addr=%s: error resolving passed in network volume address: %w", o[1], err)
		}
		f.data[i][1] = ip.String()
	}
	return nil
}
