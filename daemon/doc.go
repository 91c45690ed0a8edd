// Package daemon makes an engine out of its parts and keeps it running.
//
// It owns the configuration (dockerd's flags and daemon.json, every one of
// them, and Davit's own), the listeners, the locks that keep two engines
// apart, the log, the signals, and New: the one place where the parts are wired
// together. It must not know how containers, images or networks work, nor what
// a route does.
//
// A Config is written by Load and only read afterwards. Run is called once; all
// that it starts has ended when it returns. What a reload may change is held in
// atomic values that their users read each time.
package daemon
