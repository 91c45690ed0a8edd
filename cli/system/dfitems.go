package system

import (
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/volume"

	"github.com/davit-engine/davit/cli/format"
)

// volumeUsage is the volumes' part of what `system df -v` shows.
func volumeUsage(items []volume.Volume) format.Section {
	rows := make([]*volumeRow, len(items))
	for i := range items {
		rows[i] = &volumeRow{&items[i]}
	}
	return format.NewSection(format.List[*volumeRow]{Fields: format.Fields[*volumeRow]{
		{Name: "Name", Header: "VOLUME NAME", Value: (*volumeRow).Name},
		{Name: "Links", Header: "LINKS", Value: (*volumeRow).Links},
		{Name: "Size", Header: "SIZE", Value: (*volumeRow).Size},
		{Name: "Driver", Header: "DRIVER", Value: (*volumeRow).Driver},
		{Name: "Mountpoint", Header: "MOUNTPOINT", Value: (*volumeRow).Mountpoint},
	}, Table: []string{"Name", "Links", "Size"}}, rows)
}

// volumeRow is a volume; its methods are the fields of templates.
type volumeRow struct{ v *volume.Volume }

// Name is the volume's name.
func (r *volumeRow) Name() string { return r.v.Name }

// Driver is what keeps the volume.
func (r *volumeRow) Driver() string { return r.v.Driver }

// Mountpoint is where its files are on the host.
func (r *volumeRow) Mountpoint() string { return r.v.Mountpoint }

// Links is how many containers use it, "N/A" if not counted.
func (r *volumeRow) Links() string {
	if r.v.UsageData == nil || r.v.UsageData.RefCount < 0 {
		return "N/A"
	}
	return strconv.FormatInt(r.v.UsageData.RefCount, 10)
}

// Size is what it holds, "N/A" if that is not known.
func (r *volumeRow) Size() string {
	if r.v.UsageData == nil || r.v.UsageData.Size < 0 {
		return "N/A"
	}
	return units.HumanSize(float64(r.v.UsageData.Size))
}

// cacheUsage is the build cache's part.
func cacheUsage(items []build.CacheRecord) format.Section {
	rows := make([]*cacheRow, len(items))
	for i := range items {
		rows[i] = &cacheRow{&items[i], time.Now()}
	}
	return format.NewSection(format.List[*cacheRow]{Fields: format.Fields[*cacheRow]{
		{Name: "ID", Header: "CACHE ID", Value: (*cacheRow).ID},
		{Name: "CacheType", Header: "CACHE TYPE", Value: (*cacheRow).CacheType},
		{Name: "Size", Header: "SIZE", Value: (*cacheRow).Size},
		{Name: "CreatedSince", Header: "CREATED", Value: (*cacheRow).CreatedSince},
		{Name: "LastUsedSince", Header: "LAST USED", Value: (*cacheRow).LastUsedSince},
		{Name: "UsageCount", Header: "USAGE", Value: (*cacheRow).UsageCount},
		{Name: "Shared", Header: "SHARED", Value: (*cacheRow).Shared},
		{Name: "Description", Header: "DESCRIPTION", Value: (*cacheRow).Description},
	}, Table: []string{"ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"}}, rows)
}

// cacheRow is a record of the build cache; its methods are the fields of
// templates.
type cacheRow struct {
	r   *build.CacheRecord
	now time.Time
}

// ID is the record's ID, twelve characters of it, with a star if it is not in
// use.
func (r *cacheRow) ID() string {
	id := r.r.ID[:min(12, len(r.r.ID))]
	if !r.r.InUse {
		id += "*"
	}
	return id
}

// CacheType is what the record stems from.
func (r *cacheRow) CacheType() string { return r.r.Type }

// Size is what it takes on the disk.
func (r *cacheRow) Size() string { return units.HumanSizeWithPrecision(float64(r.r.Size), 3) }

// CreatedSince is its age.
func (r *cacheRow) CreatedSince() string {
	return units.HumanDuration(r.now.Sub(r.r.CreatedAt)) + " ago"
}

// LastUsedSince is how long ago it was of use.
func (r *cacheRow) LastUsedSince() string {
	if r.r.LastUsedAt == nil {
		return ""
	}
	return units.HumanDuration(r.now.Sub(*r.r.LastUsedAt)) + " ago"
}

// UsageCount is how often it was of use.
func (r *cacheRow) UsageCount() string { return strconv.Itoa(r.r.UsageCount) }

// Shared says whether others have it too.
func (r *cacheRow) Shared() string { return strconv.FormatBool(r.r.Shared) }

// Description is the step that made it.
func (r *cacheRow) Description() string { return r.r.Description }
