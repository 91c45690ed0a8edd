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

// CreateNetwork returns the description of a network to be made as a client of
// version v means it.
func CreateNetwork(v Version, r network.CreateRequest) network.CreateRequest {
	if v.Before(48) { // which could not do without IPv4
		r.EnableIPv4 = nil
	}
	return r
}
