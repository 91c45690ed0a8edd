// Package etc writes the two files of a container's /etc that lead from names
// to addresses: hosts and resolv.conf.
//
// It is pure: it reads and writes no file, and knows neither records nor
// networks. What Docker 29 writes is the rule (package resolvconf and etchosts
// of moby's libnetwork), since programs read these files.
package etc
