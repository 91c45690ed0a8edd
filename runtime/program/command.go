package program

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// command is the file to execute: one name, or one for each directory of PATH.
// There a file that may not be executed counts for no more than one that does
// not exist, as for Go's os/exec and so for Docker: 127, not 126.
type command struct {
	name   string // as the user has it
	files  []Arg
	search bool
}

func (e *entry) command() command {
	name := e.process.Args[0]
	if e.in.File != "" {
		name = e.in.File
	}
	if strings.Contains(name, "/") {
		return command{name: name, files: []Arg{e.text(name)}}
	}
	c := command{name: name, search: true}
	for _, v := range e.process.Env {
		if list, ok := strings.CutPrefix(v, "PATH="); ok {
			c.files = c.files[:0]
			for dir := range strings.SplitSeq(list, ":") {
				if path.IsAbs(dir) {
					c.files = append(c.files, e.text(strings.TrimSuffix(dir, "/")+"/"+name))
				}
			}
		}
	}
	return c
}

const notInPath = "executable file not found in $PATH"

func (c *command) doing() string { return "exec " + c.name }

// refusal is an error text of the command, in the words of Go's os/exec, which
// Docker's clients know.
func (c *command) refusal(why string) string {
	return "exec: " + strconv.Quote(c.name) + ": " + why
}

// find fails as execve would if the command is missing or may not be executed.
// It is for a process that will execute it when nobody listens any more.
func (e *entry) find() {
	e.during("")
	c := e.command()
	found := e.label()
	if c.search {
		for i := range c.files {
			next := e.label()
			e.executable(&c, i, found, next, next)
			e.place(next)
		}
		e.refuse(unix.ENOENT, c.refusal(notInPath))
		e.place(found)
		return
	}
	e.executable(&c, 0, found, e.later(found, func() { e.missing(&c, e.refuse) }), e.later(found, func() { e.denied(&c, e.refuse) }))
	e.place(found)
}

// executable goes to found if file i is one that the process may execute.
// A kernel before Linux 5.8, or a filter on ourselves, leaves it to execve.
func (e *entry) executable(c *command, i int, found, missing, denied label) {
	catch := []Catch{on(unix.ENOENT, missing), on(unix.EACCES, denied), on(unix.ENOSYS, found)}
	if c.search {
		catch = append(catch, on(unix.ENOTDIR, missing))
	}
	e.call(unix.SYS_FACCESSAT2, c.doing(), catch, cwd, c.files[i], num(unix.X_OK), imm(unix.AT_EACCESS, formAt))
	e.statFile(c.files[i], c.doing(), on(0, found))
	e.test(Scratch, statxMode, 2, unix.S_IFMT, unix.S_IFREG, unix.EACCES, c.doing(), on(0, denied))
	e.jump(found)
}

// exec makes the process the user's.
func (e *entry) exec() {
	e.during("")
	c := e.command()
	argv, env := e.vector(e.process.Args), e.vector(e.process.Env)
	e.ready()
	e.p.Last = len(e.p.Steps)
	if c.search {
		e.execSearch(&c, argv, env)
	} else {
		e.execPath(&c, argv, env)
	}
}

// execPath executes a file that the user has named by its path.
func (e *entry) execPath(c *command, argv, env Arg) {
	missing, denied := e.label(), e.label()
	e.execve(c, 0, argv, env, on(unix.ENOENT, missing), on(unix.EACCES, denied))
	e.place(missing)
	e.missing(c, e.refusing())
	e.place(denied)
	e.denied(c, e.refusing())
}

// execSearch tries each directory of PATH. What may not be executed is passed
// over, unless it looks as if it might.
func (e *entry) execSearch(c *command, argv, env Arg) {
	for i := range c.files {
		next := e.label()
		denied := e.later(next, func() {
			odd := e.label()
			e.executable(c, i, odd, next, next)
			e.place(odd)
			if e.in.Hold {
				e.lament(unix.EACCES, c.doing()+": permission denied")
			} else {
				e.failing(unix.EACCES, c.doing())
			}
		})
		e.execve(c, i, argv, env, on(unix.ENOENT, next), on(unix.ENOTDIR, next), on(unix.EACCES, denied))
		e.place(next)
	}
	e.refusing()(unix.ENOENT, c.refusal(notInPath))
}

// execve executes file i. What is not caught has no listener after Hold, and
// is told on the container's standard error.
func (e *entry) execve(c *command, i int, argv, env Arg, catch ...Catch) {
	if e.in.Hold {
		if e.odd == nil {
			l := e.label()
			e.odd = &l
			e.cold = append(e.cold, func() {
				e.place(l)
				e.lament(unix.ENOEXEC, c.doing()+": it cannot be executed: no format that the kernel knows, or no memory")
			})
		}
		catch = append(catch, on(AnyErrno, *e.odd))
	}
	e.call(unix.SYS_EXECVE, c.doing(), catch, c.files[i], argv, env)
}

// missing says what ENOENT of a named file means: it is the file itself, or
// the interpreter that it asks for.
func (e *entry) missing(c *command, refuse func(unix.Errno, string)) {
	gone := e.label()
	e.statFile(c.files[0], c.doing(), on(0, gone))
	if e.in.Hold {
		refuse(unix.ENOENT, c.doing()+": no such file or directory")
	} else {
		e.failing(unix.ENOENT, c.doing())
	}
	e.place(gone)
	refuse(unix.ENOENT, c.refusal("stat "+c.name+": no such file or directory"))
}

// denied says what EACCES of a named file means.
func (e *entry) denied(c *command, refuse func(unix.Errno, string)) {
	failed := e.label()
	e.statFile(c.files[0], c.doing(), on(0, failed))
	e.test(Scratch, statxMode, 2, unix.S_IFMT, unix.S_IFDIR, unix.ENOTDIR, "", on(0, failed))
	refuse(unix.EISDIR, c.refusal("is a directory"))
	e.place(failed)
	refuse(unix.EACCES, c.refusal("permission denied"))
}

// refusing is how a process that stands right before execve fails.
func (e *entry) refusing() func(unix.Errno, string) {
	if e.in.Hold {
		return e.lament
	}
	return e.refuse
}

// lament fails with the text on standard error, and with the exit code that
// the caller would have given.
func (e *entry) lament(errno unix.Errno, text string) {
	ignored := e.label()
	text += "\n"
	e.call(unix.SYS_WRITE, "", []Catch{on(AnyErrno, ignored)}, num(2), e.text(text), num(len(text)))
	e.place(ignored)
	e.call(unix.SYS_EXIT_GROUP, "", nil, num(exitCode(errno)))
	e.failing(errno, "")
}
