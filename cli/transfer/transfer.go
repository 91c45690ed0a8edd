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
	"iter"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/term"
)

// Options say what to pull or push, and where progress goes.
type Options struct {
	Ref      reference.Named
	All      bool // every tag of the repository
	Platform *ocispec.Platform
	Out      term.Output
	Quiet    bool
}

// Pull fetches an image.
func Pull(ctx context.Context, e *env.Env, o Options) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	options := client.ImagePullOptions{All: o.All, RegistryAuth: credentials(e, o.Ref)}
	if o.Platform != nil {
		options.Platforms = []ocispec.Platform{*o.Platform}
	}
	stream, err := api.ImagePull(ctx, o.Ref.String(), options)
	if err != nil {
		return err
	}
	return show(ctx, stream, o)
}

// Push sends an image.
func Push(ctx context.Context, e *env.Env, o Options) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	stream, err := api.ImagePush(ctx, o.Ref.String(), client.ImagePushOptions{
		All: o.All, Platform: o.Platform, RegistryAuth: credentials(e, o.Ref),
	})
	if err != nil {
		return err
	}
	return show(ctx, stream, o)
}

// credentials returns the registry header's value for an image, "" for none.
// A broken helper is reported; the image may well be public.
func credentials(e *env.Env, ref reference.Named) string {
	auth, err := e.Config().AuthFor(reference.Domain(ref))
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

type stream interface {
	io.Closer
	JSONMessages(context.Context) iter.Seq2[jsonstream.Message, error]
}

// show prints a stream's messages until its end; an error in the stream is
// returned.
func show(ctx context.Context, s stream, o Options) error {
	defer s.Close()
	progress := term.NewProgress(o.Out, time.Now)
	for m, err := range s.JSONMessages(ctx) {
		switch {
		case err != nil:
			return err
		case m.Error != nil:
			return errors.New(m.Error.Message)
		case m.Aux != nil || o.Quiet: // aux is meant for programs
			continue
		}
		if err := progress.Show(m); err != nil {
			return err
		}
	}
	return nil
}

// Messages prints a stream of messages in JSON, such as an import's answer.
func Messages(r io.Reader, out term.Output) error {
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
		case m.Aux != nil:
			continue
		}
		if err := progress.Show(m); err != nil {
			return err
		}
	}
}
