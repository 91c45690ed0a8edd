package engine

import (
	"context"
	"path/filepath"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/explain"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// Explainer says what runs, or would run, and why.
type Explainer struct {
	*launcher
	drafter *drafter
}

// NewExplainer returns the one for an engine.
func NewExplainer(e *Engine) *Explainer { return &Explainer{e.launcher, e.drafter} }

// Container explains a container as it is, or as it would be started.
func (x *Explainer) Container(_ context.Context, ref string) (dialect.Explanation, error) {
	c, err := x.table.find(ref)
	if err != nil {
		return dialect.Explanation{}, err
	}
	rec := c.snapshot()
	out, err := x.explain(&rec)
	if err != nil {
		return dialect.Explanation{}, err
	}
	out.Kind, out.Name, out.ID, out.Status = "container", rec.Name, rec.ID, string(rec.State.Status)
	if rec.Origin == nil {
		out.Warnings = append(out.Warnings, "the container was made by an older engine, which did not note who has decided what: all stands as the user's")
	}
	return out, nil
}

// Image explains the container that a run of an image without options makes.
func (x *Explainer) Image(ctx context.Context, ref string) (dialect.Explanation, error) {
	img, err := x.cfg.Images.Get(ctx, ref, nil)
	if err != nil {
		return dialect.Explanation{}, err
	}
	rec, warnings, err := x.drafter.newRecord(container.CreateRequest{Config: &container.Config{Image: ref}, HostConfig: &container.HostConfig{}}, img)
	if err != nil {
		return dialect.Explanation{}, errs.New(errs.KindOf(err), "image %s: %w: it runs only what is given behind its name", ref, err)
	}
	if rec.Config.Hostname == rec.ID[:12] {
		rec.Config.Hostname = "CONTAINER-ID" // there is none yet
	}
	out, err := x.explain(rec)
	if err != nil {
		return dialect.Explanation{}, err
	}
	out.Kind, out.Name, out.ID, out.Warnings = "image", ref, string(img.ID), append(out.Warnings, warnings...)
	return out, nil
}

// explain explains a record.
func (x *Explainer) explain(rec *record.Container) (dialect.Explanation, error) {
	out := dialect.Explanation{Image: rec.Config.Image, Warnings: []string{}}
	doubt := func(err error) {
		if err != nil {
			out.Warnings = append(out.Warnings, err.Error())
		}
	}
	who, err := x.users.lookup(rec, filepath.Join(x.store.Dir(rec.ID), "upper"), rec.State.StartedAt.IsZero())
	doubt(err)
	in, err := x.input(rec, who)
	if err != nil {
		if in.Container == nil {
			return out, err
		}
		doubt(err) // a device that is not there now
	}
	in.Variables, err = x.linkVariables(rec)
	doubt(err)
	s, err := spec.Build(in)
	if err != nil {
		return out, err
	}
	out.Facts = explain.Facts(explain.Input{
		Record: rec, Spec: s, User: who, Seccomp: x.filterWords(rec, in.Security), Given: x.cfg.Given, Defaults: x.cfg.Defaults,
		NetworkRates: x.nets.rates(rec),
	})
	return out, nil
}

// filterWords says which filter of system calls a container has.
func (x *Explainer) filterWords(rec *record.Container, sec spec.Security) string {
	profile, confined := x.filter.choose(sec)
	switch {
	case rec.HostConfig.Privileged || !confined:
		return "not filtered"
	case profile == "":
		return "filtered by the default profile"
	}
	return "filtered by a profile of its own"
}
