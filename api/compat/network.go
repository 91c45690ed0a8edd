package compat

import "github.com/moby/moby/api/types/network"

// Networks returns a list of networks as a client of version v expects it.
func Networks(v Version, list []network.Inspect) any {
	if v.Before(28) { // which saw here what inspect shows
		for i := range list {
			list[i].Status = nil
		}
		return list
	}
	out := make([]network.Summary, len(list))
	for i := range list {
		out[i].Network = list[i].Network
	}
	return out
}

// Network returns what is known of a network as a client of version v expects
// it.
func Network(v Version, n network.Inspect) any {
	if v.Before(52) {
		n.Status = nil
	}
	return n
}
