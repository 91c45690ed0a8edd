package engine

import (
	"maps"

	"github.com/moby/moby/api/types/container"
)

// Annotations that say what Docker's API has no field for. Docker's clients can
// give them too, with --annotation or, where they know none, as labels.
const (
	annotationDependsOn = "com.davit.depends-on"        // the containers that must be there before this one starts
	annotationOnFailure = "com.davit.health-on-failure" // what happens to it when it becomes unhealthy
)

// extensions makes annotations of the labels that a user gives in their place.
// Those of an image say nothing: who makes an image has no say in what happens
// to other containers.
func extensions(c *container.Config, h *container.HostConfig) *container.HostConfig {
	with := h
	for _, key := range []string{annotationDependsOn, annotationOnFailure} {
		value, labelled := c.Labels[key]
		if _, annotated := h.Annotations[key]; !labelled || annotated {
			continue
		}
		if with == h {
			changed := *h
			changed.Annotations = maps.Clone(h.Annotations)
			if changed.Annotations == nil {
				changed.Annotations = map[string]string{}
			}
			with = &changed
		}
		with.Annotations[key] = value
	}
	return with
}
