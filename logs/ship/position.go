package ship

import (
	"encoding/json"
	"os"
)

// Position is how much of a log has arrived.
type Position struct {
	End  int64 `json:"end"`            // bytes from the beginning of the log
	Done bool  `json:"done,omitempty"` // that was all, when the container ended
}

// PositionPath is where the position of the log at path is kept.
func PositionPath(path string) string { return path + ".sent" }

// LoadPosition reads the position of the log at path. Without one, or where it
// cannot be read, it is the beginning.
func LoadPosition(path string) (p Position) {
	b, err := os.ReadFile(PositionPath(path))
	if err != nil || json.Unmarshal(b, &p) != nil || p.End < 0 {
		return Position{}
	}
	return p
}

// save replaces the position on disk. It is not synced: after a power loss some
// entries are sent twice.
func (p Position) save(path string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	name := PositionPath(path)
	if err := os.WriteFile(name+".tmp", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
