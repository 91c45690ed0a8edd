// Command lines writes lines of 100 bytes to standard output, a pipe full at a
// time: as fast as whoever reads them allows.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

func main() {
	n := 1_000_000
	if len(os.Args) > 1 {
		var err error
		if n, err = strconv.Atoi(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	const batch = 600
	line := append(bytes.Repeat([]byte("0123456789"), 10)[:99], '\n')
	all := bytes.Repeat(line, batch)
	for ; n > 0; n -= batch {
		if _, err := os.Stdout.Write(all[:min(n, batch)*len(line)]); err != nil {
			os.Exit(1)
		}
	}
}
