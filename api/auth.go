package api

import (
	"context"
	"net/http"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
)

// Registry checks credentials.
type Registry interface {
	// Login asks the registry named by auth.ServerAddress, Docker's own where it
	// is empty, whether it knows the user. It may return a token to use instead
	// of the password.
	Login(ctx context.Context, auth registry.AuthConfig) (token string, err error)
}

func (t *table) auth(part Registry) {
	if part == nil {
		return
	}
	login := t.add("POST", "/auth", func(c *call) error {
		auth, err := authconfig.DecodeRequestBody(c.r.Body)
		if err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
		token, err := part.Login(c.ctx, *auth)
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, registry.AuthResponse{Status: "Login Succeeded", IdentityToken: token})
	})
	login.body, login.small = true, true
}
