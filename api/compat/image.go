package compat

import (
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
)

// Images returns a list of images as a client of version v expects it.
func Images(v Version, list []image.Summary) any {
	if v.Before(51) { // 1.51 brought the number of containers to this list
		for i := range list {
			list[i].Containers = -1
		}
	}
	return imageSummaries(v, list)
}

func imageSummaries(v Version, list []image.Summary) any {
	for i := range list {
		s := &list[i]
		if v.Before(43) && len(s.RepoTags) == 0 && len(s.RepoDigests) == 0 {
			s.RepoTags, s.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
		if s.RepoTags == nil {
			s.RepoTags = []string{}
		}
		if s.RepoDigests == nil {
			s.RepoDigests = []string{}
		}
		if v.Before(48) {
			s.Descriptor = nil
		}
	}
	if !v.Before(44) {
		if list == nil {
			list = []image.Summary{}
		}
		return list
	}
	old := make([]Extended, len(list)) // 1.44 dropped VirtualSize
	for i, s := range list {
		old[i] = Extended{Base: s, Add: map[string]any{"VirtualSize": s.Size}}
	}
	return old
}

// Image returns what is known of an image as a client of version v expects it.
func Image(v Version, i image.InspectResponse) any {
	if i.RepoTags == nil {
		i.RepoTags = []string{}
	}
	if i.RepoDigests == nil {
		i.RepoDigests = []string{}
	}
	if !v.Before(52) {
		return i
	}
	ext := Extended{Add: map[string]any{}, Default: map[string]any{
		// Since 1.52 these are left out where they are empty.
		"Parent": "", "Comment": "", "DockerVersion": "", "Author": "",
		"Config": map[string]any{"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil,
			"User": "", "Volumes": nil, "WorkingDir": ""},
	}}
	if i.GraphDriver == nil {
		i.GraphDriver = &storage.DriverData{Name: "overlayfs"}
	}
	if v.Before(50) { // fields of containers, always empty
		config := ext.Default["Config"].(map[string]any)
		for _, name := range []string{"AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"} {
			config[name] = false
		}
		for _, name := range []string{"Domainname", "Hostname", "Image"} {
			config[name] = ""
		}
	}
	if v.Before(48) {
		i.Descriptor = nil
		i.Manifests = nil
	}
	if v.Before(45) {
		ext.Default["Container"] = ""
		ext.Default["ContainerConfig"] = nil
	}
	if v.Before(44) {
		ext.Add["VirtualSize"] = i.Size
		if i.Created == "" {
			i.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	ext.Base = i
	return ext
}
