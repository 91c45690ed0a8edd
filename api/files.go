package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
)

// Files reads and changes what is in containers. An archive that is returned
// ends with an error if it is not whole, and has to be closed.
type Files interface {
	StatPath(ctx context.Context, ref, path string) (container.PathStat, error)
	ArchivePath(ctx context.Context, ref, path string) (container.PathStat, io.ReadCloser, error)
	ExtractToDir(ctx context.Context, ref, path string, content io.Reader, o engine.ExtractOptions) error
	Export(ctx context.Context, ref string) (io.ReadCloser, error)
	Changes(ctx context.Context, ref string) ([]container.FilesystemChange, error)
}

type fileRoutes struct{ part Files }

func (t *table) files(part Files) {
	if part == nil {
		return
	}
	h := fileRoutes{part}
	t.add("HEAD", "/containers/{id}/archive", h.stat)
	t.add("GET", "/containers/{id}/archive", h.get)
	t.add("PUT", "/containers/{id}/archive", h.put).body = true
	t.add("GET", "/containers/{id}/export", h.export)
	t.add("GET", "/containers/{id}/changes", h.changes)
}

// pathParameter reads the path that the archive is of.
func (c *call) pathParameter() (string, error) {
	path := c.r.Form.Get("path")
	if path == "" {
		return "", errs.New(errs.InvalidParameter, "bad parameter: path cannot be empty")
	}
	return path, nil
}

// statHeader carries what HEAD and GET say of a path.
const statHeader = "X-Docker-Container-Path-Stat"

func (c *call) setStat(st container.PathStat) error {
	data, err := json.Marshal(st)
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	c.w.Header().Set(statHeader, base64.StdEncoding.EncodeToString(data))
	return nil
}

func (h fileRoutes) stat(c *call) error {
	path, err := c.pathParameter()
	if err != nil {
		return err
	}
	st, err := h.part.StatPath(c.ctx, c.container(), path)
	if err != nil {
		return err
	}
	if err := c.setStat(st); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func (h fileRoutes) get(c *call) error {
	path, err := c.pathParameter()
	if err != nil {
		return err
	}
	st, content, err := h.part.ArchivePath(c.ctx, c.container(), path)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := c.setStat(st); err != nil {
		return err
	}
	return c.archive("application/x-tar", content)
}

// archive answers with an archive. One that breaks off breaks the connection:
// nothing else would tell the client that it is not whole.
func (c *call) archive(mediaType string, content io.Reader) error {
	buf := make([]byte, 256<<10)
	n, err := io.ReadAtLeast(content, buf, 1) // what fails at once has a status code
	if err != nil && err != io.EOF {
		return err
	}
	c.w.Header().Set("Content-Type", mediaType)
	c.w.WriteHeader(http.StatusOK)
	if _, err = c.w.Write(buf[:n]); err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{c.w}, struct{ io.Reader }{content}, buf)
	}
	if err != nil {
		if c.ctx.Err() == nil {
			c.log.Error("an archive is broken off", "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (h fileRoutes) put(c *call) error {
	path, err := c.pathParameter()
	if err != nil {
		return err
	}
	o := engine.ExtractOptions{KeepKinds: c.truth("noOverwriteDirNonDir"), UserOwns: c.truth("copyUIDGID")}
	if err := h.part.ExtractToDir(c.ctx, c.container(), path, c.r.Body, o); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func (h fileRoutes) export(c *call) error {
	content, err := h.part.Export(c.ctx, c.container())
	if err != nil {
		return err
	}
	defer content.Close()
	return c.archive("application/octet-stream", content)
}

func (h fileRoutes) changes(c *call) error {
	list, err := h.part.Changes(c.ctx, c.container())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}
