// Package peers tests davit-runtime under engines that are not ours: Debian's
// podman, containerd (ctr) and docker.io, unmodified. Each gets a private
// instance with folders and sockets of its own below one that the test removes;
// nothing of the machine's own engines is used or changed. `make peers`
// installs the packages; what is missing is skipped.
//
// The tests run one after the other: a full machine is part of each.
package peers
