package mountpoint

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// refusal makes the error for a --mount.
type refusal func(format string, args ...any) error

// fromMount reads one --mount. driver is that of volumes which name none.
func fromMount(w mount.Mount, driver string) (Wanted, error) {
	bad := func(format string, args ...any) error {
		return errs.New(errs.InvalidParameter, "invalid mount config for type %q: %s", w.Type, fmt.Sprintf(format, args...))
	}
	target := path.Clean(w.Target)
	switch {
	case w.Target == "":
		return Wanted{}, bad("field Target must not be empty")
	case target == "/":
		return Wanted{}, bad("invalid specification: destination can't be '/'")
	case !path.IsAbs(w.Target):
		return Wanted{}, bad("invalid mount path: '%s' mount path must be absolute", w.Target)
	case strings.ContainsRune(w.Target+w.Source, 0):
		return Wanted{}, bad("it contains a null byte")
	case w.ClusterOptions != nil && w.Type != mount.TypeCluster:
		return Wanted{}, bad("field ClusterOptions must not be specified")
	case w.ImageOptions != nil && w.Type != mount.TypeImage:
		return Wanted{}, bad("field ImageOptions must not be specified")
	case w.VolumeOptions != nil && w.Type != mount.TypeVolume:
		return Wanted{}, bad("field VolumeOptions must not be specified")
	case w.TmpfsOptions != nil && w.Type != mount.TypeTmpfs:
		return Wanted{}, bad("field TmpfsOptions must not be specified")
	}
	switch w.Type {
	case mount.TypeBind:
		return asBind(w, target, bad)
	case mount.TypeVolume:
		return asVolume(w, target, driver, bad)
	case mount.TypeTmpfs:
		return asTmpfs(w, target, bad)
	case mount.TypeImage:
		return asImage(w, target, bad)
	case mount.TypeNamedPipe:
		return Wanted{}, errs.New(errs.NotImplemented, "invalid mount config for type %q: named pipes are of Windows containers", w.Type)
	case mount.TypeCluster:
		return Wanted{}, errs.New(errs.NotImplemented, "invalid mount config for type %q: cluster volumes need a swarm, which this engine has not", w.Type)
	}
	return Wanted{}, bad("mount type unknown")
}

// localPath reports whether a subpath stays where it begins, as far as its
// text tells.
func localPath(subpath string) bool {
	return subpath == "" || filepath.IsLocal(subpath) && !strings.ContainsRune(subpath, 0)
}

// idmapOf is how the owners of files are shown. Consistency, which says nothing
// on Linux, goes through any client.
func idmapOf(w mount.Mount) string {
	switch w.Consistency {
	case "idmap", "ridmap", "noidmap":
		return string(w.Consistency)
	}
	return ""
}

func asBind(w mount.Mount, target string, bad refusal) (Wanted, error) {
	switch {
	case w.Source == "":
		return Wanted{}, bad("field Source must not be empty")
	case !path.IsAbs(w.Source):
		return Wanted{}, bad("invalid mount path: '%s' mount path must be absolute", w.Source)
	}
	recursive, propagation, ro, create := true, mount.Propagation(defaultPropagation), "", false
	if o := w.BindOptions; o != nil {
		recursive, create = !o.NonRecursive, o.CreateMountpoint
		if o.Propagation != "" {
			propagation = o.Propagation
		}
		switch {
		case o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive:
			return Wanted{}, bad("ReadOnlyNonRecursive and ReadOnlyForceRecursive contradict each other")
		case o.ReadOnlyNonRecursive && !w.ReadOnly:
			return Wanted{}, bad("ReadOnlyNonRecursive must not be specified without ReadOnly")
		case o.ReadOnlyForceRecursive && !w.ReadOnly:
			return Wanted{}, bad("ReadOnlyForceRecursive must not be specified without ReadOnly")
		case o.ReadOnlyNonRecursive:
			ro = "non-recursive"
		case o.ReadOnlyForceRecursive:
			ro = "force"
		}
	}
	if !slices.Contains(mount.Propagations, propagation) {
		return Wanted{}, bad("invalid propagation mode: %s", propagation)
	}
	source := path.Clean(w.Source)
	return Wanted{Mount: record.Mount{
		Type: mount.TypeBind, Source: source, Destination: target, RW: !w.ReadOnly, Propagation: propagation,
		Options: bindOptions(!w.ReadOnly, recursive, string(propagation), ro), CreateSource: create, IDMap: idmapOf(w),
	}}, nil
}

func asImage(w mount.Mount, target string, bad refusal) (Wanted, error) {
	subpath := ""
	if w.ImageOptions != nil {
		subpath = w.ImageOptions.Subpath
	}
	switch {
	case w.BindOptions != nil:
		return Wanted{}, bad("field BindOptions must not be specified")
	case w.Source == "":
		return Wanted{}, bad("field Source must not be empty")
	case !localPath(subpath):
		return Wanted{}, bad("subpath must be a relative path within the image")
	}
	return Wanted{Mount: record.Mount{
		Type: mount.TypeImage, Name: w.Source, Destination: target, Subpath: subpath, Options: bindOptions(false, false, "private", ""),
	}}, nil
}

func asTmpfs(w mount.Mount, target string, bad refusal) (Wanted, error) {
	switch {
	case w.Source != "":
		return Wanted{}, bad("field Source must not be specified")
	case w.BindOptions != nil:
		return Wanted{}, bad("field BindOptions must not be specified")
	}
	opts := []string{"noexec", "nosuid", "nodev", "rprivate"}
	if w.ReadOnly {
		opts = append(opts, "ro")
	}
	if o := w.TmpfsOptions; o != nil {
		if o.SizeBytes < 0 {
			return Wanted{}, bad("invalid tmpfs size: %d", o.SizeBytes)
		}
		if o.SizeBytes > 0 {
			opts = append(opts, "size="+strconv.FormatInt(o.SizeBytes, 10))
		}
		if o.Mode != 0 {
			opts = append(opts, fmt.Sprintf("mode=%o", o.Mode))
		}
		for _, kv := range o.Options {
			if len(kv) != 1 || kv[0] != "exec" && kv[0] != "noexec" {
				return Wanted{}, bad("invalid option: %q: TmpfsOptions.Options takes exec and noexec", strings.Join(kv, "="))
			}
			opts = append(opts, kv[0])
		}
	}
	return Wanted{Mount: record.Mount{Type: mount.TypeTmpfs, Destination: target, RW: !w.ReadOnly, Options: opts}}, nil
}

// tmpfsWords are the options of --tmpfs without a value.
var tmpfsWords = map[string]bool{"exec": true, "noexec": true, "suid": true, "nosuid": true, "dev": true, "nodev": true, "ro": true, "rw": true,
	"sync": true, "async": true, "atime": true, "noatime": true, "diratime": true, "nodiratime": true, "relatime": true, "norelatime": true,
	"strictatime": true, "nostrictatime": true, "mand": true, "nomand": true,
	"private": true, "rprivate": true, "shared": true, "rshared": true, "slave": true, "rslave": true, "unbindable": true, "runbindable": true}

var tmpfsKeys = map[string]bool{"size": true, "mode": true, "uid": true, "gid": true, "nr_inodes": true, "nr_blocks": true, "mpol": true}

// parseTmpfs reads one --tmpfs target:options.
func parseTmpfs(target, options string) (Wanted, error) {
	clean := path.Clean(target)
	if !path.IsAbs(target) || clean == "/" {
		return Wanted{}, errs.New(errs.InvalidParameter, "invalid tmpfs mount path %q: it must be absolute and not '/'", target)
	}
	opts := []string{"noexec", "nosuid", "nodev"}
	rw := true
	if options != "" {
		for _, o := range strings.Split(options, ",") {
			key, _, valued := strings.Cut(o, "=")
			if valued && !tmpfsKeys[key] || !valued && !tmpfsWords[o] {
				return Wanted{}, errs.New(errs.InvalidParameter, "invalid tmpfs option %q", o)
			}
			if o == "ro" {
				rw = false
			}
			opts = append(opts, o)
		}
	}
	return Wanted{Mount: record.Mount{Type: mount.TypeTmpfs, Destination: clean, Mode: options, RW: rw, Options: opts, Hidden: true}}, nil
}
