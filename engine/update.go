package engine

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/change"
	"github.com/davit-engine/davit/errs"
)

// Update changes limits and restart policy of a container, of one that runs at
// once. Fields with their zero value change nothing. Either all of it holds
// afterwards or, with an error, nothing: Conflict for what contradicts the
// container's other settings or what it uses now.
func (g *Changes) Update(ctx context.Context, ref string, wish container.UpdateConfig) (container.UpdateResponse, error) {
	answer := container.UpdateResponse{Warnings: []string{}}
	if err := validateUpdate(&wish); err != nil {
		return answer, err
	}
	for _, field := range change.Ignored(&wish.Resources) {
		answer.Warnings = append(answer.Warnings, field+" cannot be changed by an update and was passed over")
	}
	c, err := g.table.find(ref)
	if err != nil {
		return answer, err
	}
	limits := change.Updated(&wish.Resources)
	w := dialect.Change{Resources: &limits}
	if wish.RestartPolicy.Name != "" {
		w.RestartPolicy = &wish.RestartPolicy
	}
	if _, err := g.change(ctx, c, &w, false); err != nil {
		return answer, errs.New(errs.KindOf(err), "Cannot update container %s: %w", c.id, err)
	}
	return answer, nil
}

// validateUpdate checks a wish by itself.
func validateUpdate(wish *container.UpdateConfig) error {
	alone := container.HostConfig{Resources: wish.Resources}
	if alone.Memory == 0 {
		alone.MemorySwap = 0 // the container may have a limit on memory
	}
	if err := validateLimits(nil, &alone); err != nil {
		return err
	}
	if _, err := blockDevices(&alone); err != nil {
		return err
	}
	return errs.Wrap(errs.InvalidParameter, container.ValidateRestartPolicy(wish.RestartPolicy))
}
