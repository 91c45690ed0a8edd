package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/davit-engine/davit/engine/idrange"
	"github.com/davit-engine/davit/logs/driver"
	"github.com/spf13/pflag"
)

// Load makes a Config from how the program was called. name is argv[0], args
// the rest. Errors say which flag or key is at fault.
func Load(name string, args []string) (*Config, error) {
	c := Defaults(name)
	table := options(c)
	flags := flagSet(c.Name, table)
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("%w\nSee '%s --help'", err, c.Name)
	}
	if c.Help || c.ShowVer {
		return c, nil
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q accepts no arguments, but got %q.\nSee '%s --help'", c.Name, flags.Arg(0), c.Name)
	}
	for _, o := range table {
		if o.flag != "" && flags.Changed(o.flag) {
			c.give(o)
		}
	}
	if err := c.readFile(table, flags); err != nil {
		return nil, err
	}
	return c, c.finish(table)
}

// Usage returns the text of --help.
func Usage(name string) string {
	c := Defaults(name)
	return fmt.Sprintf("Usage:  %s [OPTIONS]\n\nAn engine for containers that speaks Docker's API.\n\nOptions:\n%s\n"+
		"Every option of dockerd is accepted; those that are not listed change nothing, and the log says why.\n"+
		"Options may stand in %s, by the names that dockerd gives them there.\n",
		c.Name, flagSet(c.Name, options(c)).FlagUsagesWrapped(100), c.File)
}

func flagSet(name string, table []option) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = true
	flags.Usage = func() {}
	for _, o := range table {
		if o.flag == "" {
			continue
		}
		f := flags.VarPF(o.value, o.flag, o.short, o.help)
		if o.value.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
		f.Hidden = o.help == ""
	}
	return flags
}

// give notes that an option was given.
func (c *Config) give(o option) {
	name := o.key
	if name == "" {
		name = o.flag
	}
	if o.inert != "" && !c.set[name] {
		c.notes = append(c.notes, Note{name, o.inert})
	}
	c.set[name] = true
}

// readFile reads daemon.json. A file that is missing is fine, unless it was
// asked for.
func (c *Config) readFile(table []option, flags *pflag.FlagSet) error {
	if c.File == "" {
		return nil
	}
	raw, err := os.ReadFile(c.File)
	if errors.Is(err, fs.ErrNotExist) && !flags.Changed("config-file") {
		return nil
	}
	if err == nil {
		err = c.decode(raw, table, flags)
	}
	if err != nil {
		return fmt.Errorf("unable to configure the daemon with file %s: %w", c.File, err)
	}
	return nil
}

// decode takes over what daemon.json says.
func (c *Config) decode(raw []byte, table []option, flags *pflag.FlagSet) error {
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))) // editors on Windows begin files so
	if len(raw) == 0 {
		return nil
	}
	if !utf8.Valid(raw) {
		return errors.New("the file is not UTF-8")
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line := 1 + bytes.Count(raw[:min(int(syntax.Offset), len(raw))], []byte("\n"))
			return fmt.Errorf("line %d: %w", line, err)
		}
		return fmt.Errorf("the file must hold one JSON object: %w", err)
	}
	if nested, ok := given["proxies"]; ok { // the only keys that may stand deeper
		var proxies map[string]json.RawMessage
		if err := json.Unmarshal(nested, &proxies); err != nil {
			return fmt.Errorf("proxies: must be an object, not %s", nested)
		}
		delete(given, "proxies")
		for name, v := range proxies {
			if !slices.Contains([]string{"http-proxy", "https-proxy", "no-proxy"}, name) {
				return unknownKeys([]string{"proxies." + name})
			}
			given[name] = v
		}
	}
	byKey := map[string]option{}
	for _, o := range table {
		for _, key := range append(o.old, o.key) {
			if key != "" {
				byKey[key] = o
			}
		}
	}
	var unknown, twice []string
	for _, key := range slices.Sorted(maps.Keys(given)) {
		o, ok := byKey[key]
		switch {
		case !ok:
			unknown = append(unknown, key)
		case o.flag != "" && flags.Changed(o.flag) && !o.merge:
			twice = append(twice, conflict(key, o.value.String(), given[key]))
		case key != o.key && given[o.key] != nil:
			return fmt.Errorf("%s and %s must not both be specified in the config file", key, o.key)
		}
	}
	switch {
	case len(unknown) > 0:
		return unknownKeys(unknown)
	case len(twice) > 0:
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(twice, ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		o, v := byKey[key], given[key]
		if _, ok := o.value.(list[netip.Addr]); ok && key != o.key { // the old key has one address
			v = slices.Concat([]byte("["), v, []byte("]"))
		}
		if err := o.value.fromJSON(v); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		c.give(o)
	}
	return nil
}

func unknownKeys(keys []string) error {
	return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(keys, ", "))
}

// conflict says what a flag and the file say of the same option. Passwords in
// the addresses of proxies are left out.
func conflict(key, flag string, file json.RawMessage) string {
	var v any
	// The file was decoded before.
	_ = json.Unmarshal(file, &v)
	inFile := fmt.Sprint(v)
	if strings.HasSuffix(key, "-proxy") {
		flag, inFile = redacted(flag), redacted(inFile)
	}
	return fmt.Sprintf("%s: (from flag: %s, from file: %s)", key, flag, inFile)
}

// redacted hides the password in an address.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	return u.Redacted()
}

// finish looks at what only the whole can tell, and fills in what depends on
// other options.
func (c *Config) finish(table []option) error {
	for _, o := range table {
		name := o.key
		if name == "" {
			name = o.flag
		}
		if o.refuse != nil && c.set[name] {
			if err := o.refuse(); err != nil {
				return err
			}
		}
	}
	if err := labelConflict(c.Labels); err != nil {
		return err
	}
	if v := os.Getenv("DOCKER_MIN_API_VERSION"); v != "" && !c.set["min-api-version"] {
		if err := apiVersion(v); err != nil {
			return fmt.Errorf("invalid DOCKER_MIN_API_VERSION: %w", err)
		}
		c.API.MinVersion = v
	}
	if err := c.finishTLS(); err != nil {
		return err
	}
	if err := c.finishNetwork(); err != nil {
		return err
	}
	for _, p := range []*string{&c.Paths.DataRoot, &c.Paths.ExecRoot, &c.Paths.PidFile} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return c.finishContainers()
}

// finishTLS follows dockerd: to say anything about verifying switches TLS on,
// and TLS alone verifies.
func (c *Config) finishTLS() error {
	l := &c.Listen
	if !c.set["tlsverify"] && os.Getenv("DOCKER_TLS_VERIFY") != "" {
		l.TLS, l.Verify = true, true
	}
	if c.set["tlsverify"] {
		l.TLS = true
	} else if l.TLS {
		l.Verify = true
	}
	dir := os.Getenv("DOCKER_CERT_PATH")
	if dir == "" {
		if dir = os.Getenv("DOCKER_CONFIG"); dir == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				home = "/root"
			}
			dir = filepath.Join(home, ".docker")
		}
	}
	for name, p := range map[string]*string{"ca.pem": &l.CACert, "cert.pem": &l.Cert, "key.pem": &l.Key} {
		if *p == "" {
			*p = filepath.Join(dir, name)
		}
	}
	for _, h := range l.Hosts {
		if _, err := parseHost(h, "/", l.TLS); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) finishNetwork() error {
	n := c.Network
	if n.FixedCIDR.IsValid() && n.BIP.IsValid() && (!n.BIP.Contains(n.FixedCIDR.Addr()) || n.FixedCIDR.Bits() < n.BIP.Bits()) {
		return fmt.Errorf("fixed-cidr %s is not part of the bridge's network %s (bip)", n.FixedCIDR, n.BIP.Masked())
	}
	if n.Bridge == "none" && (n.BIP.IsValid() || n.FixedCIDR.IsValid()) {
		return errors.New("bip and fixed-cidr describe a bridge, but bridge is none: remove one of them")
	}
	return nil
}

func (c *Config) finishContainers() error {
	d := &c.Containers
	if err := c.finishUserNS(); err != nil {
		return err
	}
	if _, err := driver.Parse(d.LogDriver, d.LogOpts); err != nil {
		return fmt.Errorf("failed to set log opts: %w", err)
	}
	if _, err := c.runtimes(); err != nil {
		return err
	}
	for _, o := range d.ExecOpts {
		if strings.HasSuffix(strings.TrimSpace(o), "systemd") {
			c.notes = append(c.notes, Note{"exec-opts", "cgroups are made directly (cgroupfs); systemd is not asked"})
		}
	}
	if _, cdi := c.API.Features["cdi"]; c.set["features"] && !(cdi && len(c.API.Features) == 1) {
		c.notes = append(c.notes, Note{"features", "images are always in the containerd store, and there is no builder to choose yet"})
	}
	return nil
}

// finishUserNS settles which of two ways containers get ids of their own.
// Root mapped to itself is no map, as dockerd has it.
func (c *Config) finishUserNS() error {
	d := &c.Containers
	if d.UserNSRemap == "" {
		return nil
	}
	if d.UserNS == "auto" {
		return errors.New("userns-remap gives all containers the same ids, default-userns auto each its own: remove one of them")
	}
	if user, _, _ := idrange.ParseUser(d.UserNSRemap); user == "root" {
		c.notes = append(c.notes, Note{"userns-remap", "root cannot be remapped with itself: user namespaces are off"})
		d.UserNSRemap = ""
	}
	return nil
}
