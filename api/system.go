package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/system"
)

// System says what the engine is and what happens in it.
type System interface {
	Info(ctx context.Context) (system.Info, error)
	// Version leaves out the versions of the API, which are the Server's to know.
	Version(ctx context.Context) (system.VersionResponse, error)
	Events(ctx context.Context, since, until time.Time, filters map[string]map[string]bool) (engine.EventStream, error)
}

type systemRoutes struct {
	part   System
	server *Server
}

func (t *table) system(part System, s *Server) {
	h := systemRoutes{part, s}
	t.add("GET", "/_ping", h.ping)
	t.add("HEAD", "/_ping", h.ping)
	if part == nil {
		return
	}
	t.add("GET", "/version", h.version)
	t.add("GET", "/info", h.info)
	t.add("GET", "/events", h.events)
}

func (h systemRoutes) ping(c *call) error {
	head := c.w.Header()
	head.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	head.Set("Pragma", "no-cache")
	if b := h.server.cfg.Builder; b != "" {
		head.Set("Builder-Version", b)
	}
	head.Set("Swarm", "inactive")
	head.Set("Content-Type", "text/plain; charset=utf-8")
	if c.r.Method == http.MethodHead {
		head.Set("Content-Length", "0")
		return c.empty(http.StatusOK)
	}
	_, err := io.WriteString(c.w, "OK")
	return err
}

func (h systemRoutes) version(c *call) error {
	v, err := h.part.Version(c.ctx)
	if err != nil {
		return err
	}
	v.APIVersion, v.MinAPIVersion = h.server.span.Max.String(), h.server.span.Min.String()
	v.Experimental = h.server.cfg.Experimental
	for i := range v.Components {
		if d := v.Components[i].Details; v.Components[i].Name == "Engine" && d != nil {
			d = maps.Clone(d)
			d["ApiVersion"], d["MinAPIVersion"] = v.APIVersion, v.MinAPIVersion
			v.Components[i].Details = d
		}
	}
	return c.json(http.StatusOK, compat.SystemVersion(c.version, v))
}

func (h systemRoutes) info(c *call) error {
	info, err := h.part.Info(c.ctx)
	if err != nil {
		return err
	}
	info.ExperimentalBuild = h.server.cfg.Experimental
	return c.json(http.StatusOK, compat.Info(c.version, info))
}

func (h systemRoutes) events(c *call) error {
	since, err := c.timeParameter("since")
	if err != nil {
		return err
	}
	until, err := c.timeParameter("until")
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(since) {
		return errs.New(errs.InvalidParameter, "`since` time (%s) cannot be after `until` time (%s)",
			c.r.Form.Get("since"), c.r.Form.Get("until"))
	}
	filters, err := c.filters()
	if err != nil {
		return err
	}
	ctx, cancel := h.server.streaming(c)
	defer cancel()
	stream, err := h.part.Events(ctx, since, until, filters)
	if err != nil {
		return err
	}
	defer stream.Cancel()

	media := eventMedia(c.r.Header.Get("Accept"))
	c.w.Header().Set("Content-Type", media)
	c.w.WriteHeader(http.StatusOK)
	flush(c.w)
	send := func(event any) error {
		if event == nil { // not known to this version
			return nil
		}
		line, err := json.Marshal(event)
		if err != nil {
			return fmt.Errorf("encoding event: %w", err)
		}
		if media == "application/json-seq" { // RFC 7464
			line = append([]byte{0x1e}, line...)
		}
		_, err = flusher{c.w}.Write(append(line, '\n'))
		return err
	}
	for _, m := range stream.Past {
		if err := send(compat.Event(c.version, m)); err != nil {
			return err
		}
	}
	var end <-chan time.Time
	if !until.IsZero() {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		end = timer.C
	}
	for {
		select {
		case m, ok := <-stream.Live:
			if !ok {
				if stream.Overrun != nil && stream.Overrun() {
					// An end like any other would hide that events are missing.
					c.log.Warn("a client reads events more slowly than they happen: its connection is closed", "client", c.r.RemoteAddr)
					panic(http.ErrAbortHandler)
				}
				return nil
			}
			if err := send(compat.Event(c.version, m)); err != nil {
				return err
			}
		case <-end:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// eventMedia chooses the form of the event stream: the first of those that the
// client names which exists, else the one that old clients expect.
func eventMedia(accept string) string {
	for _, part := range strings.Split(accept, ",") {
		media, parameters, err := mime.ParseMediaType(part)
		if err != nil || parameters["q"] == "0" {
			continue
		}
		switch media {
		case "application/x-ndjson", "application/json-seq", "application/jsonl":
			return media
		}
	}
	return "application/json"
}
