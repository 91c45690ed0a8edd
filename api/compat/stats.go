package compat

import "github.com/moby/moby/api/types/container"

// Stats returns what a container uses as a client of version v expects it.
func Stats(v Version, s container.StatsResponse) container.StatsResponse {
	if v.Before(52) {
		s.OSType = "" // 1.52 brought it
	}
	return s
}
