package flags

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// GPUs collects --gpus: "all", a count, or count=,device=,driver=,capabilities=.
type GPUs struct{ Values []container.DeviceRequest }

// Set implements pflag.Value.
func (g *GPUs) Set(v string) error {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return err
	}
	r := container.DeviceRequest{Options: map[string]string{}}
	seen := map[string]bool{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if seen[key] {
			return fmt.Errorf("gpu request key '%s' can be specified only once", key)
		}
		seen[key] = true
		if !ok {
			seen["count"] = true
			if r.Count, err = gpuCount(key); err != nil {
				return err
			}
			continue
		}
		switch key {
		case "driver":
			r.Driver = value
		case "count":
			if r.Count, err = gpuCount(value); err != nil {
				return err
			}
		case "device":
			r.DeviceIDs = strings.Split(value, ",")
		case "capabilities":
			r.Capabilities = [][]string{append(strings.Split(value, ","), "gpu")}
		case "options":
			options, err := csv.NewReader(strings.NewReader(value)).Read()
			if err != nil {
				return fmt.Errorf("failed to read gpu options: %w", err)
			}
			for _, o := range options {
				k, v, _ := strings.Cut(o, "=")
				r.Options[k] = v
			}
		default:
			return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
		}
	}
	if !seen["count"] && r.DeviceIDs == nil {
		r.Count = 1
	}
	if r.Capabilities == nil {
		r.Capabilities = [][]string{{"gpu"}}
	}
	g.Values = append(g.Values, r)
	return nil
}

func gpuCount(s string) (int, error) {
	if s == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf(`invalid count (%s): value must be either "all" or an integer: %w`, s, err)
	}
	return n, nil
}

// Type implements pflag.Value.
func (*GPUs) Type() string     { return "gpu-request" }
func (g *GPUs) String() string { return "" }
