// Command answer is the least of a web server: whatever it is asked, it says
// the same 100 bytes, on connections that stay open. What takes time between
// it and its client is the network.
//
//	answer ADDRESS
//
// It has a goroutine for each connection and shares nothing between them.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "answer: which address?")
		os.Exit(2)
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "answer:", err)
		os.Exit(1)
	}
	body := strings.Repeat("davit ", 17)[:100]
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "answer:", err)
			os.Exit(1)
		}
		go serve(c, answer)
	}
}

// serve answers each request, which ends with an empty line.
func serve(c net.Conn, answer []byte) {
	defer c.Close()
	buf, held := make([]byte, 16<<10), 0
	for {
		n, err := c.Read(buf[held:])
		if err != nil {
			return
		}
		held += n
		for {
			end := bytes.Index(buf[:held], []byte("\r\n\r\n"))
			if end < 0 {
				break
			}
			held = copy(buf, buf[end+4:held])
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
		if held == len(buf) {
			return
		}
	}
}
