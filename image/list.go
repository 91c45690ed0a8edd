package image

import (
	"cmp"
	"context"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/errs"
)

// List summarises the images that pass the filters, newest first.
func (s *Store) List(ctx context.Context, o ListOptions) ([]imagetypes.Summary, error) {
	list, err := s.list(s.st.context(ctx), o)
	return list, classify(err)
}

func (s *Store) list(ctx context.Context, o ListOptions) ([]imagetypes.Summary, error) {
	filter, err := parseFilters(ctx, s, o.Filters)
	if err != nil {
		return nil, err
	}
	all, err := s.st.images.List(ctx)
	if err != nil {
		return nil, err
	}
	groups := map[digest.Digest][]images.Image{}
	parents := map[string]bool{}
	for _, rec := range all {
		parents[rec.Labels[parentLabel]] = true
	}
	for _, rec := range all {
		if isDangling(rec) && !o.All && parents[rec.Target.Digest.String()] {
			continue // a step of the classic builder
		}
		if filter.record(rec) {
			groups[rec.Target.Digest] = append(groups[rec.Target.Digest], rec)
		}
	}

	summaries := make([]imagetypes.Summary, 0, len(groups))
	shared := sharing{s: s, users: map[digest.Digest]int{}}
	for d, recs := range groups {
		v, err := s.st.survey(ctx, recs[0].Target, o.Containers)
		if errdefs.IsNotFound(err) {
			// The index itself is gone: removed since it was listed, or damaged.
			v, err = survey{}, nil
		}
		if err != nil {
			return nil, err
		}
		best, found := choose(v.candidates, nil)
		if !filter.survey(v, best) {
			continue
		}
		sum := summarise(recs, v, best, found)
		if o.Containers != nil {
			sum.Containers = int64(v.containers)
		}
		if o.Manifests {
			sum.Manifests = v.manifests
		}
		summaries = append(summaries, sum)
		if o.SharedSize {
			shared.add(d, v.chains)
		}
	}
	if o.SharedSize {
		for i := range summaries {
			if summaries[i].SharedSize, err = shared.size(ctx, digest.Digest(summaries[i].ID)); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(summaries, func(a, b imagetypes.Summary) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), strings.Compare(a.ID, b.ID))
	})
	return summaries, nil
}

// Count returns how many images there are, steps of the classic builder left
// out. It looks at names only.
func (s *Store) Count(ctx context.Context) (int, error) {
	all, err := s.st.images.List(s.st.context(ctx))
	if err != nil {
		return 0, classify(err)
	}
	parents, ids := map[string]bool{}, map[digest.Digest]bool{}
	for _, rec := range all {
		parents[rec.Labels[parentLabel]] = true
	}
	for _, rec := range all {
		if !isDangling(rec) || !parents[rec.Target.Digest.String()] {
			ids[rec.Target.Digest] = true
		}
	}
	return len(ids), nil
}

func summarise(recs []images.Image, v survey, best candidate, found bool) imagetypes.Summary {
	target := recs[0].Target
	sum := imagetypes.Summary{
		ID:          target.Digest.String(),
		RepoTags:    repoTags(recs),
		RepoDigests: repoDigests(recs),
		Size:        v.size,
		ParentID:    recs[0].Labels[parentLabel],
		Descriptor:  &target,
		// "not computed", as against none.
		SharedSize: -1,
		Containers: -1,
	}
	if found {
		sum.Labels = best.config.Config.Labels
		if best.config.Created != nil {
			sum.Created = best.config.Created.Unix()
		}
	}
	return sum
}

// sharing computes how much of an image others have too.
type sharing struct {
	s      *Store
	users  map[digest.Digest]int // images by chain ID
	chains map[digest.Digest][]digest.Digest
}

func (h *sharing) add(id digest.Digest, chains []digest.Digest) {
	if h.chains == nil {
		h.chains = map[digest.Digest][]digest.Digest{}
	}
	h.chains[id] = chains
	for _, c := range slices.Compact(slices.Sorted(slices.Values(chains))) {
		h.users[c]++
	}
}

func (h *sharing) size(ctx context.Context, id digest.Digest) (int64, error) {
	var total int64
	for _, c := range h.chains[id] {
		if h.users[c] < 2 {
			continue
		}
		n, err := h.s.st.layerSize(ctx, c)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// filters is a parsed set of filters.
type filters struct {
	references []string
	dangling   *bool
	labels     []labelCheck
	until      time.Time // zero: any
	before     time.Time
	since      time.Time
}

// labelCheck is one label filter: key, key=value, and their negations.
type labelCheck struct {
	key, value string
	hasValue   bool
	negate     bool
}

func parseFilters(ctx context.Context, s *Store, args map[string]map[string]bool) (*filters, error) {
	var f filters
	for _, key := range slices.Sorted(maps.Keys(args)) {
		for _, value := range slices.Sorted(maps.Keys(args[key])) {
			if err := f.parse(ctx, s, key, value); err != nil {
				return nil, err
			}
		}
	}
	return &f, nil
}

// parse adds one condition.
func (f *filters) parse(ctx context.Context, s *Store, key, value string) (err error) {
	switch key {
	case "reference":
		if _, err := path.Match(value, ""); err != nil {
			return errs.New(errs.InvalidParameter, "invalid filter 'reference=%s': %w", value, err)
		}
		f.references = append(f.references, value)
	case "dangling":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errs.New(errs.InvalidParameter, "invalid filter 'dangling=[%s]'", value)
		}
		f.dangling = &b
	case "label", "label!":
		f.labels = append(f.labels, parseLabelCheck(value, key == "label!"))
	case "until":
		f.until, err = ParseTime(value, time.Now())
	case "before":
		f.before, err = createdAt(ctx, s, value)
	case "since":
		f.since, err = createdAt(ctx, s, value)
	default:
		return errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
	}
	return err
}

func parseLabelCheck(value string, negate bool) labelCheck {
	key, val, hasValue := strings.Cut(value, "=")
	if k, ok := strings.CutSuffix(key, "!"); ok {
		key, negate = k, !negate
	}
	return labelCheck{key, val, hasValue, negate}
}

// ParseTime reads what Docker takes as a time: seconds since 1970 with a
// fraction, RFC 3339, a shortened form of it, or a duration before now.
func ParseTime(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return now.Add(-d), nil
	}
	if secs, frac, _ := strings.Cut(value, "."); secs != "" {
		if n, err := strconv.ParseInt(secs, 10, 64); err == nil {
			nanos, err := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
			if err == nil {
				return time.Unix(n, nanos), nil
			}
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02", "2006-01-02Z07:00"} {
		if t, err := time.ParseInLocation(layout, value, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errs.New(errs.InvalidParameter, "failed to parse value as time or duration: %q", value)
}

// createdAt finds when the image that ref names was made.
func createdAt(ctx context.Context, s *Store, ref string) (time.Time, error) {
	rec, err := s.names.resolve(ctx, ref)
	if err != nil {
		return time.Time{}, err
	}
	best, err := s.best(ctx, rec, nil)
	if err != nil || best.config.Created == nil {
		return time.Time{}, err
	}
	return *best.config.Created, nil
}

// record tests what the name record alone can tell.
func (f *filters) record(rec images.Image) bool {
	if f.dangling != nil && *f.dangling != isDangling(rec) {
		return false
	}
	if !f.until.IsZero() && !rec.CreatedAt.Before(f.until) {
		return false
	}
	if len(f.references) == 0 {
		return true
	}
	name, err := reference.ParseNormalizedNamed(rec.Name)
	if err != nil || isDangling(rec) {
		return false
	}
	return slices.ContainsFunc(f.references, func(pattern string) bool {
		ok, err := reference.FamiliarMatch(pattern, name)
		return err == nil && ok
	})
}

// survey tests what needs the image's configuration.
func (f *filters) survey(v survey, best candidate) bool {
	created := best.config.Created
	if !f.before.IsZero() && (created == nil || !created.Before(f.before)) {
		return false
	}
	if !f.since.IsZero() && (created == nil || !created.After(f.since)) {
		return false
	}
	return len(f.labels) == 0 || slices.ContainsFunc(v.candidates, func(c candidate) bool {
		return !slices.ContainsFunc(f.labels, func(l labelCheck) bool { return !l.holds(c.config.Config.Labels) })
	})
}

func (l labelCheck) holds(labels map[string]string) bool {
	value, exists := labels[l.key]
	switch {
	case !l.hasValue:
		return exists != l.negate
	case !exists:
		return false
	}
	return (value == l.value) != l.negate
}
