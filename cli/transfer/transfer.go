// Package transfer moves images between the engine and registries on behalf of
// commands: credentials, request, progress, errors.
//
// It knows no command. A call runs in its caller's goroutine.
package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/name"
	"github.com/davit-engine/davit/cli/term"
)

// Options say what to pull or push, and where progress goes.
type Options struct {
	Ref      name.Image
	All      bool // every tag of the repository
	Platform *ocispec.Platform
	Out      term.Output
	Quiet    bool
}

// Pull fetches an image.
func Pull(ctx context.Context, e *env.Env, o Options) error {
	return o.move(ctx, e, client.Images.Pull)
}

// Push sends an image.
func Push(ctx context.Context, e *env.Env, o Options) error {
	return o.move(ctx, e, client.Images.Push)
}

type call func(client.Images, context.Context, name.Image, client.TransferOptions) (io.ReadCloser, error)

func (o Options) move(ctx context.Context, e *env.Env, ask call) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	stream, err := ask(api.Images, ctx, o.Ref, client.TransferOptions{All: o.All, Platform: o.Platform, Auth: credentials(e, o.Ref)})
	if err != nil {
		return err
	}
	defer stream.Close()
	return Messages(stream, o.Out, o.Quiet)
}

// credentials returns the registry header's value for an image, "" for none.
// A broken helper is reported; the image may well be public.
func credentials(e *env.Env, ref name.Image) string {
	auth, err := e.Config().AuthFor(ref.Domain)
	if err != nil {
		e.Warn(err.Error())
		return ""
	}
	if auth == (registry.AuthConfig{}) {
		return ""
	}
	encoded, err := authconfig.Encode(auth)
	if err != nil {
		e.Warn(err.Error())
	}
	return encoded
}

// Messages prints a stream of messages in JSON until its end, if it is not to
// be quiet; an error in the stream is returned.
func Messages(r io.Reader, out term.Output, quiet bool) error {
	progress := term.NewProgress(out, time.Now)
	decoder := json.NewDecoder(r)
	for {
		var m jsonstream.Message
		switch err := decoder.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != nil:
			return errors.New(m.Error.Message)
		case m.Aux != nil || quiet: // aux is meant for programs
			continue
		}
		if err := progress.Show(m); err != nil {
			return err
		}
	}
}
