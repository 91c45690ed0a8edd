package program

import (
	"slices"
	"testing"
)

// Each option that is listed is understood, and none goes to the filesystem.
func TestMountOptions(t *testing.T) {
	all := MountOptions()
	for _, name := range all {
		if o, err := parseOptions([]string{name}); err != nil || len(o.data) > 0 {
			t.Errorf("%s: %v, handed on: %q", name, err, o.data)
		}
	}
	if len(slices.Compact(slices.Clone(all))) != len(all) || !slices.IsSorted(all) {
		t.Errorf("not sorted, or double: %q", all)
	}
}
