package oci

import (
	"path"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// groupPath is where a container's control group lies. What the spec gives is
// taken below the root of each hierarchy; with systemd it is
// slice:prefix:name, and the group lies where systemd would put the scope
// prefix-name.scope.
func groupPath(given, id string, systemd bool) (string, error) {
	if !systemd {
		if given == "" {
			given = "/" + Name + "/" + id
		}
		return path.Clean("/" + given), nil
	}
	if given == "" {
		given = "system.slice:" + Name + ":" + id
	}
	parts := strings.Split(given, ":")
	if len(parts) != 3 {
		return "", errs.New(errs.InvalidParameter, "linux.cgroupsPath: %q has not the form slice:prefix:name, which --systemd-cgroup asks for", given)
	}
	slice, prefix, unit := parts[0], parts[1], parts[2]
	if slice == "" {
		slice = "system.slice"
	}
	dir, err := slicePath(slice)
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(unit, ".slice") {
		if prefix != "" {
			unit = prefix + "-" + unit
		}
		unit += ".scope"
	}
	return path.Join(dir, unit), nil
}

// slicePath expands a slice into the slices that it lies in, which its name
// tells: a-b.slice is /a.slice/a-b.slice (systemd.slice(5)).
func slicePath(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || strings.Contains(slice, "/") || name != "-" && (name == "" || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") || strings.Contains(name, "--")) {
		return "", errs.New(errs.InvalidParameter, "linux.cgroupsPath: %q is not the name of a slice", slice)
	}
	if name == "-" {
		return "/", nil
	}
	dir, above := "/", ""
	for part := range strings.SplitSeq(name, "-") {
		dir = path.Join(dir, above+part+".slice")
		above += part + "-"
	}
	return dir, nil
}
