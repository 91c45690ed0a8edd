package engine

import (
	"container/list"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/seccomp"
)

// filterCache keeps compiled seccomp filters by profile and capabilities, the
// latest used ones. Its methods may be called at any time.
type filterCache struct {
	profile string // the engine's own: "", "unconfined" or JSON

	mu     sync.Mutex
	recent *list.List               // of *filter, the latest used first; guarded by mu
	byKey  map[string]*list.Element // guarded by mu
}

type filter struct {
	key   string
	bpf   []byte
	flags uint32
}

// maxFilters bounds the cache: a filter is about 4 KB.
const maxFilters = 64

func newFilterCache(profile string) *filterCache {
	return &filterCache{profile: profile, recent: list.New(), byKey: map[string]*list.Element{}}
}

// choose returns the profile for a container, empty for the default one, unless
// it is unconfined.
func (f *filterCache) choose(sec spec.Security) (profile string, confined bool) {
	if profile = sec.Profile; profile == "" {
		profile = f.profile
	}
	return profile, !sec.Unconfined && profile != "unconfined"
}

// spec returns the filter for a container as the OCI spec has it; nil for an
// unconfined one. Errors are InvalidParameter: the profile is the user's.
func (f *filterCache) spec(sec spec.Security, caps []string) (p *specs.LinuxSeccomp, err error) {
	profile, confined := f.choose(sec)
	switch {
	case !confined:
		return nil, nil
	case profile == "":
		p, err = seccomp.Default(caps)
	default:
		p, err = seccomp.FromProfileJSON([]byte(profile), caps)
	}
	if err != nil {
		return nil, errs.New(errs.InvalidParameter, "reading the seccomp profile: %w", err)
	}
	return p, nil
}

// get returns the filter for a container with the given options and
// capabilities; none for an unconfined one. Errors are InvalidParameter: the
// profile is the user's.
func (f *filterCache) get(sec spec.Security, caps []string) (bpf []byte, flags uint32, err error) {
	profile, confined := f.choose(sec)
	if !confined {
		return nil, 0, nil
	}
	key := strings.Join(caps, ",") + "\x00" + profile
	f.mu.Lock()
	if el := f.byKey[key]; el != nil {
		f.recent.MoveToFront(el)
		hit := el.Value.(*filter)
		f.mu.Unlock()
		return hit.bpf, hit.flags, nil
	}
	f.mu.Unlock()
	p, err := f.spec(sec, caps)
	if err != nil {
		return nil, 0, err
	}
	bpf, flags, err = seccomp.Compile(p)
	if err != nil {
		return nil, 0, errs.New(errs.InvalidParameter, "compiling the seccomp profile: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey[key] == nil {
		f.byKey[key] = f.recent.PushFront(&filter{key, bpf, flags})
		if f.recent.Len() > maxFilters {
			last := f.recent.Back()
			delete(f.byKey, last.Value.(*filter).key)
			f.recent.Remove(last)
		}
	}
	return bpf, flags, nil
}
