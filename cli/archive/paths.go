// Package archive turns files of this machine into tar archives and back, for
// `davit cp`.
//
// It owns the rules by which a source and a destination become an archive and
// a directory to extract it to, which are Docker's and those of cp(1) as far as
// POSIX goes. It knows nothing of containers or engines. What it extracts may
// come from a hostile container: no name and no link in an archive leads out of
// the directory that is extracted to. Its functions may be called by many
// goroutines, and work as streams.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Info is one side of a copy.
type Info struct {
	Path   string
	Exists bool
	IsDir  bool
	Rebase string // what a source is called in the archive, where that is not the end of Path
}

// Why a copy cannot be.
var (
	errCannotCopyDir = errors.New("cannot copy directory")
	errDirNotExists  = errors.New("no such directory")
	errNotDirectory  = errors.New("not a directory")
)

// hasDot reports whether a path ends in a dot that stands for the directory.
func hasDot(path string) bool { return filepath.Base(path) == "." }

func hasSlash(path string) bool { return strings.HasSuffix(path, "/") }

// Keep gives a path that was cleaned the trailing slash or dot of the original,
// which mean that it is a directory.
func Keep(cleaned, original string) string {
	if hasDot(original) && !hasDot(cleaned) {
		cleaned = strings.TrimSuffix(cleaned, "/") + "/."
	}
	if hasSlash(original) && !hasSlash(cleaned) {
		cleaned += "/"
	}
	return cleaned
}

// Absolute is a path of this machine from its root.
func Absolute(path string) (string, error) {
	full, err := filepath.Abs(path)
	return Keep(full, path), err
}

// Split cuts a path into a directory and the name in it, which is "." where a
// dot says so.
func Split(path string) (dir, base string) {
	cleaned := filepath.Clean(path)
	if hasDot(path) {
		cleaned += "/."
	}
	return filepath.Dir(cleaned), filepath.Base(cleaned)
}

// Renamed returns where a path leads through its link, with the trailing slash
// or dot of the original, and what it has to be called for that, "" for its own
// name.
func Renamed(path, target string) (resolved, rebase string) {
	if hasDot(path) && !hasDot(target) {
		target += "/."
	}
	if hasSlash(path) && !hasSlash(target) {
		target += "/"
	}
	if filepath.Base(path) != filepath.Base(target) {
		rebase = filepath.Base(path)
	}
	return target, rebase
}

// Source looks at what is to be copied. Its last element is followed if it is a
// link and follow is set.
func Source(path string, follow bool) (Info, error) {
	var resolved, rebase string
	if follow {
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return Info{}, err
		}
		resolved, rebase = Renamed(path, target)
	} else {
		dir, base := filepath.Split(path)
		real, err := filepath.EvalSymlinks(filepath.Clean(dir))
		if err != nil {
			return Info{}, err
		}
		resolved = strings.TrimSuffix(real, "/") + "/" + base
		if hasSlash(path) && filepath.Base(path) != filepath.Base(resolved) {
			rebase = filepath.Base(path)
		}
	}
	st, err := os.Lstat(resolved)
	if err != nil {
		return Info{}, err
	}
	return Info{Path: resolved, Exists: true, IsDir: st.IsDir(), Rebase: rebase}, nil
}

// maxLinks is how many links a destination may be behind.
const maxLinks = 10

// Destination looks at where something is to be copied to. A link is followed,
// also one to nothing; the directory above has to be there.
func Destination(path string) (Info, error) {
	original := path
	for links := 0; ; links++ {
		st, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			dir, _ := Split(path)
			parent, err := os.Stat(dir)
			if err != nil {
				return Info{}, err
			}
			if !parent.IsDir() {
				return Info{}, errNotDirectory
			}
			return Info{Path: path}, nil
		case err != nil:
			return Info{}, err
		case st.Mode()&fs.ModeSymlink == 0:
			return Info{Path: path, Exists: true, IsDir: st.IsDir()}, nil
		case links == maxLinks:
			return Info{}, fmt.Errorf("too many symlinks in %s", original)
		}
		target, err := os.Readlink(path)
		if err != nil {
			return Info{}, err
		}
		if !filepath.IsAbs(target) {
			dir, _ := Split(path)
			target = filepath.Join(dir, target)
		}
		path = target
	}
}

// Plan decides which directory a copy is extracted to, and what the source is
// called there; "" is its own name.
func Plan(source, destination Info) (dir, name string, err error) {
	parent, base := Split(destination.Path)
	switch {
	case destination.Exists && destination.IsDir:
		return destination.Path, "", nil
	case destination.Exists && source.IsDir:
		return "", "", errCannotCopyDir
	case !destination.Exists && !source.IsDir && (hasSlash(destination.Path) || hasDot(destination.Path)):
		return "", "", errDirNotExists
	}
	return parent, base, nil
}

// Name is what a source is called in an archive of it.
func (i Info) Name() string {
	if i.Rebase != "" {
		return i.Rebase
	}
	_, base := Split(i.Path)
	return base
}

// Rebase renames the first element of all names in an archive.
func Rebase(content io.Reader, from, to string) io.ReadCloser {
	if from == "/" { // each name begins with the slash
		from = ""
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(rename(w, content, from, to)) }()
	return r
}

func rename(w io.Writer, content io.Reader, from, to string) error {
	in, out := tar.NewReader(content), tar.NewWriter(w)
	buf := make([]byte, pieceSize)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		h.Format = tar.FormatPAX // a longer name may fit no other
		h.Name = strings.Replace(h.Name, from, to, 1)
		if h.Typeflag == tar.TypeLink {
			h.Linkname = strings.Replace(h.Linkname, from, to, 1)
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf); err != nil {
			return err
		}
	}
}

// pieceSize is what is read and written at once.
const pieceSize = 256 << 10
