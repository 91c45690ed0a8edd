// Command hello-world is the whole content of the demo's image: it prints what
// had to happen for its text to reach the terminal, and exits.
//
// It knows nothing of the engine that runs it. It is built static, for an
// image that holds this one file.
package main

import "os"

const message = `
Hello from Davit! You are reading the output of a program inside a container.

Between your command and this text:

  1. The client (davit) sent "create a container of hello-world" to the engine
     (davitd), as HTTP over a unix socket. It speaks Docker's API.
  2. The first time, the engine found no such image here, so the client had it
     pulled: the engine fetched manifest and layers from the registry, checked
     each byte against its SHA-256 digest, and unpacked them.
  3. The engine wrote down what was asked for and handed it to a shim, a small
     process that stays with this container even if the engine is killed.
  4. The shim forked. The child, in namespaces of its own, mounted this image's
     files as its root, gave up what a container may not do, and executed me.
  5. The shim passed my output straight to your terminal and to the log.

When I exit, the kernel takes the mounts and namespaces away by itself.

Try next:

  davit run hello-world                  again: nothing is pulled, so it is quick
  davit ps -a                            this container is still listed
  davit logs CONTAINER                   and its output is kept
  davit run -it --rm busybox sh          a shell, if your registry has busybox
  docker -H "$DAVIT_HOST" ps -a          any client of Docker works too

`

func main() {
	if _, err := os.Stdout.WriteString(message); err != nil {
		os.Exit(1)
	}
}
