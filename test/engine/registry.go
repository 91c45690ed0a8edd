package enginetest

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startRegistry runs davit-registry on a free port of loopback.
func (e *Engine) startRegistry() error {
	log, err := os.OpenFile(filepath.Join(e.Root, "registry.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	addrFile := filepath.Join(e.Root, "registry.addr")
	if err := os.Remove(addrFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cmd := exec.Command(filepath.Join(e.Bin, "davit-registry"), "serve", "--addr", "127.0.0.1:0", "--addr-file", addrFile,
		"--root", filepath.Join(e.Root, "registry"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	e.registry = cmd
	return poll(ready, func() error {
		addr, err := os.ReadFile(addrFile)
		if err != nil {
			return err
		}
		e.Registry = strings.TrimSpace(string(addr))
		response, err := http.Get("http://" + e.Registry + "/v2/")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New("registry answers " + response.Status)
		}
		return nil
	})
}

func (e *Engine) stopRegistry() {
	if e.registry == nil {
		return
	}
	exited := make(chan struct{})
	go func() {
		_ = e.registry.Wait() // how it ended does not matter
		close(exited)
	}()
	_ = e.registry.Process.Signal(unix.SIGTERM) // it may be gone
	select {
	case <-exited:
	case <-time.After(5 * time.Second):
		_ = e.registry.Process.Kill()
		<-exited
	}
	e.registry = nil
}

// head tells whether a manifest is there.
func head(t testing.TB, url string) bool {
	t.Helper()
	request, err := http.NewRequest(http.MethodHead, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("asking the registry: %v", err)
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
