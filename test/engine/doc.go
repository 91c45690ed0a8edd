// Package enginetest runs real engines for tests: the binaries that users get,
// each engine with a folder, a bridge, a control group and a registry of its
// own, driven through its socket by Davit's command line, by an unmodified
// docker command line, and by moby's client.
//
//	e := enginetest.Start(t, enginetest.Config{})   // skips with a reason when not root
//	e.Busybox(t)                                    // an image "busybox", pulled from e's registry
//	for _, cli := range e.CLIs(t) {                 // davit, and docker if there is one
//		out := cli.OK(t, "run", "--rm", "busybox", "echo", "hi")
//	}
//
// The package owns what it starts and ends it when the test does; it looks for
// what an engine has left behind (Leftovers, Take) and knows nothing of how
// the engine is made: it imports no package of the project. Engines may be
// used by several goroutines; Kill, Stop and Restart by one at a time.
package enginetest
