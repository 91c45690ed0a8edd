// Command oci runs the validation suite of opencontainers/runtime-tools with an
// OCI runtime, and with a second one beside it whose results set the mark. It
// knows the suite's programs by what they print, and no runtime but by its
// command line. The two runtimes work at the same time, programs that use the
// suite's one cgroup one after the other.
//
//	oci -suite DIR [-run REGEXP] [-v] RUNTIME MARK
//
// DIR has the suite's programs, runtimetest and the tarball of the root
// filesystem (scripts/oci.sh makes it). It exits with 1 if RUNTIME does worse
// than MARK in any check.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

func main() {
	suite := flag.String("suite", "", "`folder` of the suite")
	only := flag.String("run", "", "only programs that match the `regexp`")
	verbose := flag.Bool("v", false, "what the runtime's failing programs printed")
	flag.Parse()
	if *suite == "" || flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: oci -suite DIR [-run REGEXP] [-v] RUNTIME MARK")
		os.Exit(2)
	}
	worse, err := compare(os.Stdout, *suite, *only, flag.Arg(0), flag.Arg(1), *verbose)
	if err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
	if worse > 0 {
		os.Exit(1)
	}
}

// slowWins are programs that a runtime passes by being slow: pidfile asks for the
// state of a container that runs `true`, and then kills it.
var slowWins = []string{"pidfile"}

// compare runs the suite with both runtimes, prints a table, and returns how
// many programs went worse with the first.
func compare(w io.Writer, suite, only, first, second string, verbose bool) (worse int, err error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	programs, err := list(suite, pattern)
	if err != nil {
		return 0, err
	}
	var (
		lanes   [2]*lane
		results [2][]result
		errs    [2]error
		cgroup  sync.Mutex
		wait    sync.WaitGroup
	)
	for i, runtime := range []string{first, second} {
		if lanes[i], err = newLane(suite, runtime, &cgroup); err != nil {
			return 0, err
		}
		defer lanes[i].close()
	}
	for i := range lanes {
		wait.Go(func() { results[i], errs[i] = lanes[i].run(programs) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}

	// Some programs race with what they start: what goes worse has two more tries.
	for range 2 {
		for i, program := range programs {
			if len(results[0][i].worse(results[1][i])) == 0 {
				continue
			}
			if results[0][i], err = lanes[0].one(program); err != nil {
				return 0, err
			}
		}
	}

	names := [2]string{filepath.Base(first), filepath.Base(second)}
	row := func(a, b, c string) { fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-34s %-18s %s", a, b, c), " ")) }
	row("program", names[0], names[1])
	var passed [2]int
	var details strings.Builder
	for i, program := range programs {
		ours, mark := results[0][i], results[1][i]
		for j := range passed {
			if results[j][i].good() {
				passed[j]++
			}
		}
		row(program, ours.String(), mark.String())
		if differences := ours.worse(mark); len(differences) > 0 && !slices.Contains(slowWins, program) {
			worse++
			fmt.Fprintf(&details, "\n%s does worse with %s than with %s:\n  %s\n", program, names[0], names[1], strings.Join(differences, "\n  "))
		}
		if verbose && !ours.good() {
			fmt.Fprintf(&details, "\n%s with %s:\n%s\n", program, names[0], ours.output)
		}
	}
	row("passed", fmt.Sprintf("%d of %d", passed[0], len(programs)), fmt.Sprintf("%d of %d", passed[1], len(programs)))
	fmt.Fprint(w, details.String())
	if worse > 0 {
		fmt.Fprintf(w, "\noci: %d programs go worse with %s than with %s\n", worse, names[0], names[1])
	} else {
		fmt.Fprintf(w, "oci: nothing goes worse with %s than with %s\n", names[0], names[1])
	}
	return worse, nil
}
