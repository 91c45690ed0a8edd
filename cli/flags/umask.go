package flags

import (
	"fmt"
	"strconv"
)

// Umask is an octal number of three digits at most. Value is nil where the
// flag was not given.
type Umask struct{ Value *uint32 }

// Set reads the number.
func (u *Umask) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("invalid umask %q: it must be an octal number up to 0777", text)
	}
	v := uint32(n)
	u.Value = &v
	return nil
}

// String is the number as it is written.
func (u *Umask) String() string {
	if u.Value == nil {
		return ""
	}
	return fmt.Sprintf("%04o", *u.Value)
}

// Type is what help shows for the value.
func (*Umask) Type() string { return "string" }
