package engine

// undo collects what takes back the steps of a verb that may still fail. Each
// step registers its own on the line after it.
type undo []func()

func (u *undo) add(f func()) { *u = append(*u, f) }

// unless runs the steps backwards if *err is set. It is deferred.
func (u *undo) unless(err *error) {
	if *err == nil {
		return
	}
	for i := len(*u) - 1; i >= 0; i-- {
		(*u)[i]()
	}
}
