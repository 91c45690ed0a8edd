package enginetest

import (
	"errors"
	"testing"
	"time"
)

// permanent is an error that polling cannot cure.
type permanent struct{ error }

// poll calls f until it returns nil, or for at most the given time; then it
// returns f's last error.
func poll(limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := f()
		var final permanent
		if err == nil || errors.As(err, &final) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// Eventually waits until f returns nil; after the limit the test fails with
// f's last error.
func Eventually(t testing.TB, limit time.Duration, f func() error) {
	t.Helper()
	if err := poll(limit, f); err != nil {
		t.Fatalf("after %v still: %v", limit, err)
	}
}
