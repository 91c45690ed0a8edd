package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/cli/name"
)

// StatPath describes what is at a path in a container.
func (c Containers) StatPath(ctx context.Context, id, path string) (container.PathStat, error) {
	answer, err := c.archive(ctx, http.MethodHead, id, path)
	if err != nil {
		return container.PathStat{}, err
	}
	defer answer.Body.Close()
	return pathStat(answer.Header)
}

// CopyFrom returns what is at a path in a container as a tar archive.
func (c Containers) CopyFrom(ctx context.Context, id, path string) (io.ReadCloser, container.PathStat, error) {
	answer, err := c.archive(ctx, http.MethodGet, id, path)
	if err != nil {
		return nil, container.PathStat{}, err
	}
	stat, err := pathStat(answer.Header)
	if err != nil {
		_ = answer.Body.Close()
		return nil, stat, err
	}
	return answer.Body, stat, nil
}

func (c Containers) archive(ctx context.Context, method, id, path string) (*http.Response, error) {
	at, err := containerPath(id, "/archive")
	if err != nil {
		return nil, err
	}
	return c.api.send(ctx, request{method: method, path: at, query: url.Values{"path": {path}}})
}

func pathStat(h http.Header) (st container.PathStat, err error) {
	data, err := base64.StdEncoding.DecodeString(h.Get("X-Docker-Container-Path-Stat"))
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil {
		return st, fmt.Errorf("unable to decode container path stat header: %w", err)
	}
	return st, nil
}

// CopyTo extracts a tar archive in a directory of a container. owned says that
// all files are to belong to the container's user. No directory takes the place
// of another file, nor the other way round.
func (c Containers) CopyTo(ctx context.Context, id, path string, content io.Reader, owned bool) error {
	at, err := containerPath(id, "/archive")
	if err != nil {
		return err
	}
	query := url.Values{"path": {path}, "noOverwriteDirNonDir": {"true"}}
	if owned {
		query.Set("copyUIDGID", "true")
	}
	return c.api.do(ctx, request{method: http.MethodPut, path: at, query: query, upload: content})
}

// Export returns all files of a container as a tar archive.
func (c Containers) Export(ctx context.Context, id string) (io.ReadCloser, error) {
	at, err := containerPath(id, "/export")
	if err != nil {
		return nil, err
	}
	return c.api.stream(ctx, request{method: http.MethodGet, path: at})
}

// Changes lists what a container changed in the files of its image.
func (c Containers) Changes(ctx context.Context, id string) ([]container.FilesystemChange, error) {
	at, err := containerPath(id, "/changes")
	if err != nil {
		return nil, err
	}
	list, _, err := fetch[[]container.FilesystemChange](ctx, c.api, request{method: http.MethodGet, path: at})
	return list, err
}

// CommitOptions describe an image to be made of a container.
type CommitOptions struct {
	Name            string // "" for none
	Author, Comment string
	Changes         []string // instructions of a Dockerfile
	NoPause         bool     // let the container run on meanwhile
}

// Commit makes an image of a container and returns its ID.
func (c Containers) Commit(ctx context.Context, id string, o CommitOptions) (string, error) {
	query := url.Values{"container": {id}}
	if o.Name != "" {
		ref, err := name.Parse(o.Name)
		if err != nil {
			return "", err
		}
		query.Set("repo", ref.Name())
		query.Set("tag", ref.Tagged().Tag)
	}
	set(query, "author", o.Author)
	set(query, "comment", o.Comment)
	if len(o.Changes) > 0 {
		query["changes"] = o.Changes
	}
	if o.NoPause {
		query.Set("pause", "0")
	}
	answer, _, err := fetch[container.CommitResponse](ctx, c.api, request{method: http.MethodPost, path: "/commit", query: query})
	return answer.ID, err
}
