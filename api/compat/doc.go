// Package compat holds what differs between the versions of Docker's API.
//
// It owns the numbers of the versions that are served, and the translations
// between the newest version - the one that the rest of Davit speaks - and an
// older one: of requests on the way in, of answers on the way out. It knows
// the types of moby/moby/api and neither HTTP nor the engine.
//
// Each rule names the version that brought the change; the source of them all
// is docs/CHANGELOG.md of github.com/moby/moby/api. All functions are pure:
// they may change the values that are handed to them, and keep nothing.
package compat
