package engine

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/user"

	"github.com/davit-engine/davit/engine/layers"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// maxUserFile bounds passwd and group files of an image, in bytes.
const maxUserFile = 4 << 20

// userCache remembers who a user is in an image. Containers that ran before
// may have changed their files and are looked up anew.
type userCache struct {
	mu    sync.Mutex
	known map[string]spec.User // guarded by mu
}

func newUserCache() *userCache { return &userCache{known: map[string]spec.User{}} }

// maxUsers bounds the cache; an entry is a few dozen bytes.
const maxUsers = 1024

// lookup resolves rec's user and groups. fresh says that the container's
// layers are the image's. upper is the container's own layer.
func (u *userCache) lookup(rec *record.Container, upper string, fresh bool) (spec.User, error) {
	key := strings.Join(append([]string{rec.Image.ID, rec.Image.Platform.Architecture, rec.Config.User}, rec.HostConfig.GroupAdd...), "\x00")
	if fresh {
		u.mu.Lock()
		got, ok := u.known[key]
		u.mu.Unlock()
		if ok {
			return got, nil
		}
	}
	got, err := resolveUser(rec.Config.User, rec.HostConfig.GroupAdd, append([]string{upper}, rec.Image.Lower...))
	if err != nil || !fresh {
		return got, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.known) >= maxUsers {
		clear(u.known)
	}
	u.known[key] = got
	return got, nil
}

func resolveUser(name string, groups, stack []string) (spec.User, error) {
	return findUser(name, groups, func(path string) ([]byte, error) { return layers.ReadFile(stack, path, maxUserFile) })
}

// findUser looks a user and groups up in the files that open gives.
func findUser(name string, groups []string, open func(path string) ([]byte, error)) (spec.User, error) {
	read := func(path string) ([]byte, error) {
		data, err := open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return data, errs.Wrap(errs.InvalidParameter, err)
	}
	passwd, err := read("/etc/passwd")
	if err != nil {
		return spec.User{}, err
	}
	group, err := read("/etc/group")
	if err != nil {
		return spec.User{}, err
	}
	passwd, group = wellFormed(passwd, 2, 3), wellFormed(group, 2)
	who, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return spec.User{}, errs.Wrap(errs.InvalidParameter, err)
	}
	out := spec.User{UID: uint32(who.Uid), GID: uint32(who.Gid), Home: who.Home}
	gids := who.Sgids
	if len(groups) > 0 {
		more, err := user.GetAdditionalGroups(groups, bytes.NewReader(group))
		if err != nil {
			return spec.User{}, errs.Wrap(errs.InvalidParameter, err)
		}
		gids = append(gids, more...)
	}
	// The primary group stands among the others, so that a group that is
	// denied something cannot be shed (CVE-2022-2989 and its kin).
	out.Groups = append(out.Groups, out.GID)
	for _, g := range gids {
		if !slices.Contains(out.Groups, uint32(g)) {
			out.Groups = append(out.Groups, uint32(g))
		}
	}
	return out, nil
}

// maxID is the highest user or group id that the library takes for a number.
const maxID = 1<<31 - 1

// wellFormed leaves out the lines of a passwd or group file whose ids, in these
// columns, are none. The library would read them as 0 or cut them to 32 bits:
// root's, in either case (CVE-2024-40635 is of this kind).
func wellFormed(file []byte, ids ...int) []byte {
	out := make([]byte, 0, len(file))
	for line := range bytes.Lines(file) {
		fields := bytes.Split(bytes.TrimSpace(line), []byte(":"))
		good := len(fields[0]) > 0
		for _, i := range ids {
			good = good && i < len(fields) && isID(fields[i])
		}
		if good {
			out = append(out, line...)
		}
	}
	return out
}

func isID(field []byte) bool {
	for _, c := range field {
		if c < '0' || c > '9' {
			return false
		}
	}
	n, err := strconv.ParseUint(string(field), 10, 64)
	return err == nil && n <= maxID
}
