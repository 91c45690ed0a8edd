// Package flags owns the types of option values that Docker's commands take:
// lists, sizes, CPU counts, mounts, networks, limits.
//
// It turns one argument into one value and says what is wrong with it; what a
// value means to the engine is the commands' business. Values belong to the
// command that parses them.
package flags

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/davit-engine/davit/cli/client"
)

// List collects every occurrence of an option, checked by Check if set.
type List struct {
	Values []string
	Check  func(string) (string, error)
}

// Set implements pflag.Value.
func (l *List) Set(v string) error {
	if l.Check != nil {
		checked, err := l.Check(v)
		if err != nil {
			return err
		}
		v = checked
	}
	l.Values = append(l.Values, v)
	return nil
}

// Type implements pflag.Value.
func (*List) Type() string { return "list" }

func (l *List) String() string {
	if len(l.Values) == 0 {
		return ""
	}
	return fmt.Sprint(l.Values)
}

// All returns the values, never nil.
func (l *List) All() []string { return append([]string{}, l.Values...) }

// Map collects KEY=VALUE options.
type Map struct {
	Values map[string]string
	Check  func(string) (string, error)
}

// Set implements pflag.Value.
func (m *Map) Set(v string) error {
	if m.Check != nil {
		checked, err := m.Check(v)
		if err != nil {
			return err
		}
		v = checked
	}
	key, value, _ := strings.Cut(v, "=")
	if m.Values == nil {
		m.Values = map[string]string{}
	}
	m.Values[key] = value
	return nil
}

// Type implements pflag.Value.
func (*Map) Type() string { return "map" }

func (m *Map) String() string {
	if len(m.Values) == 0 {
		return ""
	}
	return fmt.Sprint(m.Values)
}

// Filter collects the NAME=VALUE conditions of --filter.
type Filter struct{ Values client.Filters }

// Set implements pflag.Value.
func (f *Filter) Set(v string) error {
	if v == "" {
		return nil
	}
	name, value, ok := strings.Cut(v, "=")
	if !ok {
		return fmt.Errorf("invalid filter '%s'", v)
	}
	if f.Values == nil {
		f.Values = client.Filters{}
	}
	f.Values.Add(strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value))
	return nil
}

// Type implements pflag.Value.
func (*Filter) Type() string     { return "filter" }
func (f *Filter) String() string { return "" }

// Bytes is a size in bytes, written as 512m or 2g; -1 is allowed where
// Unlimited is set.
type Bytes struct {
	Value     int64
	Unlimited bool
}

// Set implements pflag.Value.
func (b *Bytes) Set(v string) error {
	if b.Unlimited && v == "-1" {
		b.Value = -1
		return nil
	}
	n, err := units.RAMInBytes(v)
	b.Value = n
	return err
}

// Type implements pflag.Value.
func (*Bytes) Type() string { return "bytes" }

func (b *Bytes) String() string {
	if b.Value == 0 {
		return ""
	}
	if b.Value < 0 {
		return "-1"
	}
	return units.BytesSize(float64(b.Value))
}

// CPUs is a number of processors in billionths.
type CPUs struct{ Nano int64 }

// Set implements pflag.Value.
func (c *CPUs) Set(v string) error {
	n, ok := new(big.Rat).SetString(v)
	if !ok {
		return fmt.Errorf("failed to parse %v as a rational number", v)
	}
	n.Mul(n, big.NewRat(1e9, 1))
	if !n.IsInt() {
		return fmt.Errorf("value is too precise")
	}
	c.Nano = n.Num().Int64()
	return nil
}

// Type implements pflag.Value.
func (*CPUs) Type() string { return "decimal" }

func (c *CPUs) String() string {
	if c.Nano == 0 {
		return ""
	}
	return big.NewRat(c.Nano, 1e9).FloatString(3)
}

// Env checks an environment variable: NAME=VALUE, or NAME alone, which takes
// the value of this process if it has one. lookup is os.LookupEnv.
func Env(lookup func(string) (string, bool)) func(string) (string, error) {
	return func(v string) (string, error) {
		name, _, hasValue := strings.Cut(v, "=")
		if name == "" {
			return "", fmt.Errorf("invalid environment variable: %s", v)
		}
		if !hasValue {
			if value, ok := lookup(name); ok {
				return name + "=" + value, nil
			}
		}
		return v, nil
	}
}

// Label checks a label, of which only the key is required.
func Label(v string) (string, error) {
	key, value, hasValue := strings.Cut(v, "=")
	key = strings.TrimLeft(key, " \t")
	switch {
	case key == "":
		return "", fmt.Errorf("invalid label '%s': empty name", v)
	case strings.ContainsAny(key, " \t"):
		return "", fmt.Errorf("label '%s' contains whitespaces", key)
	case !hasValue:
		return key, nil
	}
	return key + "=" + value, nil
}

// Link checks NAME or NAME:ALIAS.
func Link(v string) (string, error) {
	if v == "" {
		return "", fmt.Errorf("empty string specified for links")
	}
	parts := strings.Split(v, ":")
	if len(parts) > 2 {
		return "", fmt.Errorf("bad format for links: %s", v)
	}
	return v, nil
}

// Sysctl checks that a kernel parameter is one of those with namespaces.
func Sysctl(v string) (string, error) {
	key, _, ok := strings.Cut(v, "=")
	if !ok || key == "" {
		return "", fmt.Errorf("sysctl '%s' is not allowed", v)
	}
	switch key {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
		return v, nil
	}
	if strings.HasPrefix(key, "net.") || strings.HasPrefix(key, "fs.mqueue.") {
		return v, nil
	}
	return "", fmt.Errorf("sysctl '%s' is not allowed", v)
}

// DNSSearch checks a search domain; "." means none.
func DNSSearch(v string) (string, error) {
	v = strings.Trim(v, " ")
	if v == "." {
		return v, nil
	}
	domain := strings.TrimSuffix(v, ".")
	ok := domain != "" && len(domain) < 255
	for label := range strings.SplitSeq(domain, ".") {
		ok = ok && label != "" && label[0] != '-' && label[len(label)-1] != '-'
		for _, r := range label {
			ok = ok && (r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}
	}
	if !ok || !strings.ContainsAny(domain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return "", fmt.Errorf("%s is not a valid domain", v)
	}
	return domain, nil
}

// AttachStream checks the name of a standard stream.
func AttachStream(v string) (string, error) {
	s := strings.ToLower(v)
	if s != "stdin" && s != "stdout" && s != "stderr" {
		return "", fmt.Errorf("valid streams are STDIN, STDOUT and STDERR")
	}
	return s, nil
}

// DeviceRule checks a cgroup device rule such as "c 13:* rwm".
func DeviceRule(v string) (string, error) {
	if ok, _ := regexp.MatchString(`^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$`, v); !ok {
		return "", fmt.Errorf("invalid device cgroup format '%s'", v)
	}
	return v, nil
}

// Ulimits collects NAME=SOFT[:HARD] resource limits.
type Ulimits struct{ Values []*units.Ulimit }

// Set implements pflag.Value; a name given twice keeps its last value.
func (u *Ulimits) Set(v string) error {
	limit, err := units.ParseUlimit(v)
	if err != nil {
		return err
	}
	u.Values = slices.DeleteFunc(u.Values, func(other *units.Ulimit) bool { return other.Name == limit.Name })
	u.Values = append(u.Values, limit)
	return nil
}

// Type implements pflag.Value.
func (*Ulimits) Type() string { return "ulimit" }

func (u *Ulimits) String() string {
	if len(u.Values) == 0 {
		return ""
	}
	return fmt.Sprint(u.Values)
}

// Sorted returns the limits by name, nil for none.
func (u *Ulimits) Sorted() []*units.Ulimit {
	return slices.SortedFunc(slices.Values(u.Values), func(a, b *units.Ulimit) int { return strings.Compare(a.Name, b.Name) })
}

// parseBool reads Docker's booleans in comma-separated options, where the key
// alone means true.
func parseBool(key, value string, has bool) (bool, error) {
	if !has {
		return true, nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("invalid value for '%s': invalid boolean value (%q)", key, value)
	}
	return b, nil
}
