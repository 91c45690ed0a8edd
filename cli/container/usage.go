package container

import (
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/cli/format"
)

// Usage is the containers' part of what `system df -v` shows. Nothing is cut if
// noTrunc is set.
func Usage(items []container.Summary, noTrunc bool) format.Section {
	rows := make([]*row, len(items))
	now := time.Now()
	for i := range items {
		own := items[i]
		own.SizeRootFs = 0 // the image's share is the image's
		rows[i] = &row{c: &own, noTrunc: noTrunc, now: now}
	}
	columns := []string{"ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"}
	return format.NewSection(format.List[*row]{Fields: fields(), Table: columns}, rows)
}
