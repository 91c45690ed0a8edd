package rootfs

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// paxXattr begins the tar record of an extended attribute (star, bsdtar, GNU
// tar and Go agree on it).
const paxXattr = "SCHILY.xattr."

const capability = "security.capability"

// maxXattrs bounds what the attributes of one file may take in an archive;
// readers refuse headers over 1 MiB.
const maxXattrs = 512 << 10

// portable says whether an attribute belongs to the file wherever it goes:
// capabilities and the user's own. Labels and overlayfs's own stay.
func portable(name string) bool {
	return name == capability || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// xattrs reads the attributes of what a descriptor stands for, as tar records.
func (i IDs) xattrs(fd int) (map[string]string, error) {
	at := self(fd)
	names, err := listXattr(at)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var out map[string]string
	total := 0
	for _, name := range names {
		if !portable(name) || strings.Contains(name, "=") {
			continue
		}
		value, err := getXattr(at, name)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if name == capability {
			value = i.capsInside(value)
		}
		if total += len(name) + len(value); total > maxXattrs {
			return out, nil
		}
		if out == nil {
			out = map[string]string{}
		}
		out[paxXattr+name] = string(value)
	}
	return out, nil
}

func listXattr(at string) ([]string, error) {
	buf := make([]byte, 256)
	n, err := unix.Listxattr(at, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // XATTR_LIST_MAX
		n, err = unix.Listxattr(at, buf)
	}
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

func getXattr(at, name string) ([]byte, error) {
	buf := make([]byte, 128)
	n, err := unix.Getxattr(at, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err = unix.Getxattr(at, name, buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// setXattrs gives the attributes in an archive's records to an open file. A
// file system that has none goes without.
func (i IDs) setXattrs(fd int, records map[string]string) error {
	for record, text := range records {
		name, ok := strings.CutPrefix(record, paxXattr)
		if !ok || !portable(name) {
			continue
		}
		value := []byte(text)
		if name == capability {
			value = i.capsOutside(value)
		}
		err := unix.Fsetxattr(fd, name, value, 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}
