package record

import "github.com/moby/moby/api/types/mount"

// Mount is what a container has mounted beside its root filesystem, as it was
// settled when the container was made: names resolved, volumes created, those
// of other containers (--volumes-from) taken over.
type Mount struct {
	Type        mount.Type        // bind, volume, tmpfs or image
	Name        string            `json:",omitempty"` // of a volume; of an image as the user wrote it
	Source      string            `json:",omitempty"` // path on the host: of a bind, or of the volume's data; ID of an image
	Destination string            // absolute and clean; not "/"
	Driver      string            `json:",omitempty"` // of a volume
	Mode        string            `json:",omitempty"` // as the user wrote it behind the second colon of -v
	RW          bool              `json:",omitempty"`
	Propagation mount.Propagation `json:",omitempty"`
	Subpath     string            `json:",omitempty"` // the part of a volume or image that is mounted
	Anonymous   bool              `json:",omitempty"` // a volume that goes with the container (rm -v, --rm)

	Options      []string `json:",omitempty"` // of the mount, as the OCI runtime spec writes them
	CreateSource bool     `json:",omitempty"` // a bind whose missing source is made, as -v does
	IDMap        string   `json:",omitempty"` // "idmap", "ridmap" or "noidmap" where the user has said so
	NoCopy       bool     `json:",omitempty"` // a volume that does not begin with what the image has there
	Hidden       bool     `json:",omitempty"` // from --tmpfs, which Docker shows in HostConfig.Tmpfs alone
	Image        *Image   `json:",omitempty"` // of an image mount
}

// Recursive reports whether what is mounted below a bind's source comes along.
func (m *Mount) Recursive() bool {
	for _, o := range m.Options {
		if o == "rbind" {
			return true
		}
	}
	return false
}
