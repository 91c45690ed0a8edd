package idrange

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// grantees are the users whose lines in subuid and subgid are for containers:
// the engine's own, and Podman's for the same purpose.
var grantees = []string{"davit", "containers"}

// database is what the host's files say of ids.
type database struct {
	stamps [4]stamp
	uids   []user.SubID // all lines of subuid
	gids   []user.SubID // all lines of subgid
	used   []span       // ids of users and groups, and ranges granted to anybody
}

// stamp tells whether a file has changed.
type stamp struct {
	inode, size, mtime, mtimeNS int64
}

// span is ids from first up to, and not, end.
type span struct{ first, end int64 }

var files = [4]string{"subuid", "subgid", "passwd", "group"}

// readDatabase reads the files in dir, unless they are as old says.
func readDatabase(dir string, old database) (_ database, changed bool, err error) {
	var d database
	for i, name := range files {
		var st unix.Stat_t
		switch err := unix.Stat(filepath.Join(dir, name), &st); {
		case err == nil:
			d.stamps[i] = stamp{int64(st.Ino), st.Size, st.Mtim.Sec, st.Mtim.Nsec}
		case errors.Is(err, unix.ENOENT):
			d.stamps[i] = stamp{inode: -1}
		default:
			return d, false, fmt.Errorf("looking at %s: %w", filepath.Join(dir, name), err)
		}
	}
	if d.stamps == old.stamps {
		return old, false, nil
	}
	if d.uids, err = subIDs(filepath.Join(dir, "subuid")); err != nil {
		return d, false, err
	}
	if d.gids, err = subIDs(filepath.Join(dir, "subgid")); err != nil {
		return d, false, err
	}
	for _, s := range slices.Concat(d.uids, d.gids) {
		d.used = append(d.used, span{s.SubID, s.SubID + s.Count})
	}
	for _, name := range files[2:] {
		ids, err := accounts(filepath.Join(dir, name))
		if err != nil {
			return d, false, err
		}
		d.used = append(d.used, ids...)
	}
	return d, true, nil
}

func subIDs(path string) ([]user.SubID, error) {
	list, err := user.ParseSubIDFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.System, "reading %s: %w", path, err)
	}
	return slices.DeleteFunc(list, func(s user.SubID) bool {
		return s.Count <= 0 || s.SubID < 0 || s.SubID+s.Count > 1<<32-1
	}), nil
}

// accounts lists the ids of passwd or group: the third field of both.
func accounts(path string) ([]span, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the host's accounts: %w", err)
	}
	var ids []span
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			ids = append(ids, span{int64(id), int64(id) + 1})
		}
	}
	return ids, nil
}

// uses reports whether somebody is known to have ids of a range.
func (d *database) uses(r Range) bool {
	for _, s := range d.used {
		for _, first := range []int64{int64(r.UID), int64(r.GID)} {
			if s.first < first+Size && s.end > first {
				return true
			}
		}
	}
	return false
}

// granted lists the areas that subuid and subgid give to containers. The user
// and the group ids need not be the same; there are as many ranges as both
// have.
func (d *database) granted() []area {
	for _, name := range grantees {
		uids, gids := pieces(d.uids, name), pieces(d.gids, name)
		var areas []area
		for len(uids) > 0 && len(gids) > 0 {
			u, g := &uids[0], &gids[0]
			n := min(u.slots, g.slots)
			areas = append(areas, area{Range{u.first, g.first}, n})
			uids, gids = u.after(n, uids), g.after(n, gids)
		}
		if len(areas) > 0 {
			return areas
		}
	}
	return nil
}

// piece is a run of ranges of one kind of id.
type piece struct {
	first uint32
	slots int
}

func pieces(list []user.SubID, name string) (out []piece) {
	for _, s := range list {
		if n := int(s.Count / Size); s.Name == name && n > 0 {
			out = append(out, piece{uint32(s.SubID), n})
		}
	}
	return out
}

// after returns rest, whose first piece is p, without n ranges.
func (p *piece) after(n int, rest []piece) []piece {
	if p.slots -= n; p.slots == 0 {
		return rest[1:]
	}
	p.first += uint32(n) * Size
	return rest
}

// MapsOf returns the maps that subuid and subgid in dir ("": /etc) give to a
// user, by name or number, one line after the other from id 0 on. Both files
// name users; a group's name is looked for in subgid where the user's is not
// there. The error is errs.InvalidParameter when there is none.
func MapsOf(dir, userName, group string) (uids, gids []specs.LinuxIDMapping, err error) {
	if dir == "" {
		dir = "/etc"
	}
	names := []string{userName}
	also, err := alias(filepath.Join(dir, "passwd"), userName)
	if err != nil {
		return nil, nil, err
	}
	if also != "" {
		names = append(names, also)
	}
	if uids, err = mapsOf(filepath.Join(dir, "subuid"), names); err != nil {
		return nil, nil, err
	}
	if gids, err = mapsOf(filepath.Join(dir, "subgid"), names); err != nil && group != userName {
		gids, err = mapsOf(filepath.Join(dir, "subgid"), []string{group})
	}
	return uids, gids, err
}

func mapsOf(path string, names []string) ([]specs.LinuxIDMapping, error) {
	list, err := subIDs(path)
	if err != nil {
		return nil, err
	}
	var maps []specs.LinuxIDMapping
	next := uint32(0)
	for _, s := range list {
		if slices.Contains(names, s.Name) {
			maps = append(maps, specs.LinuxIDMapping{ContainerID: next, HostID: uint32(s.SubID), Size: uint32(s.Count)})
			next += uint32(s.Count)
		}
	}
	if len(maps) == 0 {
		return nil, errs.New(errs.InvalidParameter, "%s has no range for %s: add a line such as %[2]s:100000:65536, or name a user that has one", path, names[0])
	}
	return maps, nil
}

// alias is the other way to write an account: its number for a name, its name
// for a number; "" if it does not exist.
func alias(path, name string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the host's accounts: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		switch {
		case len(f) < 3:
		case f[0] == name:
			return f[2], nil
		case f[2] == name:
			return f[0], nil
		}
	}
	return "", nil
}
