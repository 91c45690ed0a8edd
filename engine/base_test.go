package engine

import (
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
)

func TestBaseHoldsPlacesOnly(t *testing.T) {
	root := t.TempDir()
	for range 2 { // an engine that starts again finds it there
		if _, err := makeBase(root); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := filepath.WalkDir(filepath.Join(root, "base"), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && d.Type().IsRegular() && info.Size() != 0 {
			t.Errorf("%s is not empty", p)
		}
		rel, _ := filepath.Rel(root, p)
		got = append(got, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"base", "base/dev", "base/etc", "base/etc/hostname", "base/etc/hosts", "base/etc/resolv.conf", "base/proc", "base/sys"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
