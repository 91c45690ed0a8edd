package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// ApplyChanges carries out Dockerfile instructions on an image configuration,
// the way `docker import --change` and `docker commit --change` do. Each change
// is one instruction: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
// SHELL, STOPSIGNAL, USER, VOLUME or WORKDIR. Errors are of kind
// InvalidParameter.
func ApplyChanges(config *dockerspec.DockerOCIImageConfig, changes []string) error {
	for _, change := range changes {
		name, args, _ := strings.Cut(strings.TrimSpace(change), " ")
		if i := strings.IndexFunc(name, unicode.IsSpace); i >= 0 {
			name, args = name[:i], name[i:]+" "+args
		}
		if name == "" {
			continue
		}
		if err := applyChange(config, strings.ToUpper(name), strings.TrimSpace(args)); err != nil {
			return errs.New(errs.InvalidParameter, "parsing change %q: %w", change, err)
		}
	}
	return nil
}

func applyChange(config *dockerspec.DockerOCIImageConfig, name, args string) error {
	if args == "" {
		return fmt.Errorf("%s requires at least one argument", name)
	}
	switch name {
	case "CMD":
		config.Cmd = command(config, args)
	case "ENTRYPOINT":
		config.Entrypoint = command(config, args)
		if len(config.Entrypoint) == 0 {
			config.Entrypoint = nil
		}
	case "SHELL":
		list, ok := jsonList(args)
		if !ok || len(list) == 0 {
			return fmt.Errorf("SHELL requires the arguments to be in JSON form")
		}
		config.Shell = list
	case "ENV":
		return setEnv(config, args)
	case "LABEL":
		pairs, err := parsePairs(args)
		if err != nil {
			return err
		}
		if config.Labels == nil {
			config.Labels = map[string]string{}
		}
		maps.Insert(config.Labels, func(yield func(string, string) bool) {
			for _, p := range pairs {
				if !yield(p.key, p.value) {
					return
				}
			}
		})
	case "EXPOSE":
		return expose(config, args)
	case "USER":
		return single(&config.User, name, args)
	case "STOPSIGNAL":
		return single(&config.StopSignal, name, args)
	case "WORKDIR":
		dir, err := unquote(args)
		if err != nil {
			return err
		}
		if !path.IsAbs(dir) {
			dir = path.Join("/", config.WorkingDir, dir)
		}
		config.WorkingDir = path.Clean(dir)
	case "VOLUME":
		return addVolumes(config, args)
	case "ONBUILD":
		return onBuild(config, args)
	case "HEALTHCHECK":
		return setHealthcheck(config, args)
	default:
		return fmt.Errorf("%s is not a valid change command", name)
	}
	return nil
}

// jsonList reads the exec form of an instruction: ["a", "b"].
func jsonList(args string) (list []string, ok bool) {
	if !strings.HasPrefix(args, "[") {
		return nil, false
	}
	if json.Unmarshal([]byte(args), &list) != nil {
		return nil, false
	}
	return list, true
}

// command reads exec or shell form.
func command(config *dockerspec.DockerOCIImageConfig, args string) []string {
	if list, ok := jsonList(args); ok {
		return list
	}
	return append(shell(config), args)
}

func shell(config *dockerspec.DockerOCIImageConfig) []string {
	if len(config.Shell) > 0 {
		return slices.Clone(config.Shell)
	}
	return []string{"/bin/sh", "-c"}
}

func single(field *string, name, args string) error {
	words, err := splitWords(args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return fmt.Errorf("%s requires exactly one argument", name)
	}
	*field, err = unquote(words[0])
	return err
}

func setEnv(config *dockerspec.DockerOCIImageConfig, args string) error {
	pairs, err := parsePairs(args)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		entry := p.key + "=" + p.value
		at := slices.IndexFunc(config.Env, func(e string) bool { return strings.HasPrefix(e, p.key+"=") || e == p.key })
		if at >= 0 {
			config.Env[at] = entry
		} else {
			config.Env = append(config.Env, entry)
		}
	}
	return nil
}

// expose reads ports: 80, 80/udp, 8000-8010/tcp.
func expose(config *dockerspec.DockerOCIImageConfig, args string) error {
	for _, word := range strings.Fields(args) {
		ports, proto, found := strings.Cut(word, "/")
		if !found {
			proto = "tcp"
		}
		proto = strings.ToLower(proto)
		if proto != "tcp" && proto != "udp" && proto != "sctp" {
			return fmt.Errorf("invalid proto: %s", proto)
		}
		from, to, isRange := strings.Cut(ports, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return fmt.Errorf("invalid containerPort: %s", ports)
		}
		last, err := strconv.ParseUint(to, 10, 16)
		if err != nil || last < first {
			return fmt.Errorf("invalid containerPort: %s", ports)
		}
		if config.ExposedPorts == nil {
			config.ExposedPorts = map[string]struct{}{}
		}
		for p := first; p <= last; p++ {
			config.ExposedPorts[fmt.Sprintf("%d/%s", p, proto)] = struct{}{}
		}
	}
	return nil
}

func addVolumes(config *dockerspec.DockerOCIImageConfig, args string) error {
	list, ok := jsonList(args)
	if !ok {
		var err error
		if list, err = splitWords(args); err != nil {
			return err
		}
	}
	for _, v := range list {
		if v = strings.TrimSpace(v); v == "" {
			return fmt.Errorf("VOLUME specified can not be an empty string")
		}
		if config.Volumes == nil {
			config.Volumes = map[string]struct{}{}
		}
		config.Volumes[v] = struct{}{}
	}
	return nil
}

func onBuild(config *dockerspec.DockerOCIImageConfig, args string) error {
	trigger, _, _ := strings.Cut(args, " ")
	switch strings.ToUpper(trigger) {
	case "ONBUILD":
		return fmt.Errorf("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
	case "MAINTAINER", "FROM":
		return fmt.Errorf("%s isn't allowed as an ONBUILD trigger", strings.ToUpper(trigger))
	}
	config.OnBuild = append(config.OnBuild, args)
	return nil
}

// setHealthcheck reads HEALTHCHECK [--interval=d] [--timeout=d] [--start-period=d]
// [--start-interval=d] [--retries=n] CMD command, or NONE.
func setHealthcheck(config *dockerspec.DockerOCIImageConfig, args string) error {
	check := &dockerspec.HealthcheckConfig{}
	for strings.HasPrefix(args, "--") {
		flag, rest, _ := strings.Cut(args, " ")
		args = strings.TrimSpace(rest)
		key, value, _ := strings.Cut(flag, "=")
		if key == "--retries" {
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return fmt.Errorf("--retries must be a number of 0 or more, not %q", value)
			}
			check.Retries = n
			continue
		}
		fields := map[string]*time.Duration{"--interval": &check.Interval, "--timeout": &check.Timeout,
			"--start-period": &check.StartPeriod, "--start-interval": &check.StartInterval}
		field := fields[key]
		if field == nil {
			return fmt.Errorf("unknown flag: %s", strings.TrimPrefix(key, "--"))
		}
		d, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		if d < time.Millisecond && d != 0 {
			return fmt.Errorf("interval %q cannot be less than 1ms", strings.TrimPrefix(key, "--"))
		}
		*field = d
	}
	kind, rest, _ := strings.Cut(args, " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToUpper(kind) {
	case "NONE":
		if rest != "" {
			return fmt.Errorf("HEALTHCHECK NONE takes no arguments")
		}
		check = &dockerspec.HealthcheckConfig{Test: []string{"NONE"}}
	case "CMD":
		list, ok := jsonList(rest)
		switch {
		case rest == "" || ok && len(list) == 0:
			return fmt.Errorf("missing command after HEALTHCHECK CMD")
		case ok:
			check.Test = append([]string{"CMD"}, list...)
		default:
			check.Test = []string{"CMD-SHELL", rest}
		}
	default:
		return fmt.Errorf("unknown type %q in HEALTHCHECK (try CMD)", kind)
	}
	config.Healthcheck = check
	return nil
}

type pair struct{ key, value string }

// parsePairs reads `key=value key2="a b"`, or the old form `key the whole rest`.
func parsePairs(args string) ([]pair, error) {
	words, err := splitWords(args)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(words[0], "=") {
		key, rest, found := strings.Cut(args, " ")
		if !found {
			return nil, fmt.Errorf("%q must be of the form: name=value", args)
		}
		return []pair{{key, strings.TrimSpace(rest)}}, nil
	}
	var pairs []pair
	for _, w := range words {
		key, value, found := strings.Cut(w, "=")
		if !found {
			return nil, fmt.Errorf("syntax error - can't find = in %q; must be of the form: name=value", w)
		}
		if key, err = unquote(key); err != nil {
			return nil, err
		}
		if value, err = unquote(value); err != nil {
			return nil, err
		}
		if key == "" {
			return nil, fmt.Errorf("names can not be blank")
		}
		pairs = append(pairs, pair{key, value})
	}
	return pairs, nil
}

// splitWords cuts at spaces outside of quotes and keeps quotes and backslashes.
func splitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	quote, escaped := rune(0), false
	for _, r := range s {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case unicode.IsSpace(r):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteRune(r)
	}
	if quote != 0 {
		return nil, fmt.Errorf("unexpected end of statement while looking for matching %c", quote)
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("an argument is missing")
	}
	return words, nil
}

// unquote removes quotes and resolves backslashes, as a shell would.
func unquote(s string) (string, error) {
	var out strings.Builder
	quote, escaped := rune(0), false
	for _, r := range s {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' && r != '$' {
				out.WriteRune('\\')
			}
			out.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case quote != 0 && r == quote:
			quote = 0
		default:
			out.WriteRune(r)
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("unexpected end of statement while looking for matching %c", quote)
	}
	return out.String(), nil
}
