package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServe(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	addrFile := filepath.Join(dir, "addr")
	go func() {
		done <- run(ctx, []string{"serve", "--addr", "127.0.0.1:0", "--root", dir, "--addr-file", addrFile}, w, io.Discard)
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err, <-done)
	}
	addr := strings.TrimSpace(line)
	resp, err := http.Get("http://" + addr + "/v2/")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	if data, err := os.ReadFile(addrFile); err != nil || string(data) != line {
		t.Errorf("address file %q %v, printed %q", data, err, line)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Error("does not stop")
	}
	if _, err := os.Stat(addrFile); !os.IsNotExist(err) {
		t.Errorf("address file after the end: %v", err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{}, {"what"}, {"serve", "--nope"}, {"serve", "extra"}, {"serve", "--addr", "256.0.0.1:0", "--root", t.TempDir()}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"--help"}, &out, io.Discard); err != nil || !strings.Contains(out.String(), "--addr-file") {
		t.Errorf("help %q %v", out.String(), err)
	}
}
