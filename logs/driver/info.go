package driver

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"
)

// Info is what a driver may tell of a container.
type Info struct {
	ID        string
	Name      string // without a slash
	ImageID   string
	ImageName string
	Command   []string
	Created   time.Time
	Env       []string
	Labels    map[string]string
	Daemon    string // the engine's name
	Hostname  string // of the host
}

// Attributes are the labels and variables that the options name, and the tag
// where json-file or local are asked for one.
func (i *Info) Attributes(s *Settings) (map[string]string, error) {
	found := map[string]string{}
	choose(found, s.labels, s.labelsRegex, maps.All(i.Labels))
	if s.env != "" || s.envRegex != "" {
		env := make(map[string]string, len(i.Env))
		for _, e := range i.Env {
			if k, v, ok := strings.Cut(e, "="); ok {
				env[k] = v
			}
		}
		choose(found, s.env, s.envRegex, maps.All(env))
	}
	if s.Tag != "" && !s.Remote() {
		tag, err := i.Tag(s)
		if err != nil {
			return nil, err
		}
		found["tag"] = tag
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found, nil
}

// choose copies the pairs that a list of names or an expression names.
func choose(to map[string]string, list, expression string, from func(func(k, v string) bool)) {
	if list == "" && expression == "" {
		return
	}
	names := strings.Split(list, ",")
	var re *regexp.Regexp
	if expression != "" {
		re = regexp.MustCompile(expression) // Parse has looked at it
	}
	for k, v := range from {
		if k != "" && slices.Contains(names, k) || re != nil && re.MatchString(k) {
			to[k] = v
		}
	}
}

// Tag carries out the template of the option tag: by default the short ID.
func (i *Info) Tag(s *Settings) (string, error) {
	if s.Tag == "" {
		return short(i.ID), nil
	}
	t, err := template.New("tag").Funcs(functions).Parse(s.Tag)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, words{
		FullID: i.ID, Name: i.Name, ImageFullID: i.ImageID, ImageName: i.ImageName, DaemonName: i.Daemon, Command: strings.Join(i.Command, " "),
		ID: short(i.ID), ImageID: short(i.ImageID), Hostname: i.Hostname,
		ContainerID: i.ID, ContainerName: "/" + i.Name, ContainerImageID: i.ImageID, ContainerImageName: i.ImageName,
		ContainerCreated: i.Created, ContainerEnv: i.Env, ContainerLabels: i.Labels,
		ContainerEntrypoint: first(i.Command), ContainerArgs: rest(i.Command),
	})
	return b.String(), err
}

// words are what a tag's template can say (moby daemon/logger: Info).
type words struct {
	ID, FullID, Name, ImageID, ImageFullID, ImageName, DaemonName, Command, Hostname string

	ContainerID, ContainerName, ContainerImageID, ContainerImageName, ContainerEntrypoint string

	ContainerArgs    []string
	ContainerCreated time.Time
	ContainerEnv     []string
	ContainerLabels  map[string]string
}

// functions are those of all of Docker's templates.
var functions = template.FuncMap{
	"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	},
	"split": strings.Split,
	"join":  strings.Join,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"title": func(s string) string { return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):] },
	"pad": func(s string, prefix, suffix int) string {
		if s == "" {
			return s
		}
		return strings.Repeat(" ", max(0, min(prefix, 100))) + s + strings.Repeat(" ", max(0, min(suffix, 100)))
	},
	"truncate": func(s string, n int) string { return s[:max(0, min(n, len(s)))] },
}

// short returns the 12 digits that stand for an ID.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

func first(command []string) string {
	if len(command) == 0 {
		return ""
	}
	return command[0]
}

func rest(command []string) []string {
	if len(command) == 0 {
		return nil
	}
	return command[1:]
}
