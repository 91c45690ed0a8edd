package image

import (
	"time"

	"github.com/moby/moby/api/types/image"

	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/name"
)

// Usage is the images' part of what `system df -v` shows: one row for each
// image, under the first of its names. Nothing is cut if noTrunc is set.
func Usage(items []image.Summary, noTrunc bool) format.Section {
	rows := make([]*row, len(items))
	now := time.Now()
	for i := range items {
		r := &row{image: &items[i], now: now, noTrunc: noTrunc, repository: "<none>", tag: "<none>"}
		if len(items[i].RepoTags) > 0 {
			if ref, err := name.Parse(items[i].RepoTags[0]); err == nil && ref.Tag != "" {
				r.repository, r.tag = ref.Familiar(), ref.Tag
			}
		}
		rows[i] = r
	}
	columns := []string{"Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"}
	return format.NewSection(format.List[*row]{Fields: fields(), Table: columns}, rows)
}
