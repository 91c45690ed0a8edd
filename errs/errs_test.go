package errs

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestKindOf(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct {
		name string
		err  error
		want Kind
	}{
		{"nil", nil, Unknown},
		{"plain", cause, Unknown},
		{"new", New(NotFound, "no %s", "x"), NotFound},
		{"wrapped by fmt", fmt.Errorf("opening: %w", Wrap(Conflict, cause)), Conflict},
		{"outermost wins", Wrap(System, Wrap(NotFound, cause)), System},
		{"cancelled", fmt.Errorf("pulling: %w", context.Canceled), Cancelled},
		{"deadline", context.DeadlineExceeded, Deadline},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWrapKeepsTextAndChain(t *testing.T) {
	cause := errors.New("cause")
	err := Wrap(Unavailable, cause)
	if err.Error() != "cause" || !errors.Is(err, cause) {
		t.Errorf("text %q, chain %v", err, errors.Is(err, cause))
	}
	if Wrap(NotFound, nil) != nil {
		t.Error("wrapping nil gives an error")
	}
}
