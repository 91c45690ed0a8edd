package network

import (
	"log/slog"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

const (
	defaultBridge = "davit0"
	defaultTable  = "davit"
	noBridge      = "none"
)

// DefaultPoolSize is how many sandboxes of each sort are kept ready.
const DefaultPoolSize = 8

// complete checks the configuration and fills in what it leaves out.
func (c Config) complete() (Config, error) {
	if c.Bridge == "" {
		c.Bridge = defaultBridge
	}
	if c.Table == "" {
		if c.Table = defaultTable; c.Bridge != defaultBridge {
			c.Table = defaultTable + "-" + c.Bridge
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.PoolSize == 0 {
		c.PoolSize = DefaultPoolSize
	}
	switch {
	case len(c.Bridge) >= unix.IFNAMSIZ || strings.ContainsAny(c.Bridge, "/: \t\n%") || c.Bridge == "." || c.Bridge == "..":
		return c, errs.New(errs.InvalidParameter, "%q cannot be the name of a bridge: at most %d characters, no space, slash, colon or percent sign", c.Bridge, unix.IFNAMSIZ-1)
	case strings.ContainsAny(c.Table, "/ \t\n"):
		return c, errs.New(errs.InvalidParameter, "%q cannot be the name of an nftables table", c.Table)
	case c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535):
		return c, errs.New(errs.InvalidParameter, "an MTU of %d is not between 68 and 65535 bytes", c.MTU)
	}
	if c.BIP.IsValid() {
		part := c.BIP
		if c.FixedCIDR.IsValid() {
			part = c.FixedCIDR
		}
		if _, err := newAddresses(c.BIP, part, c.BIP.Addr()); err != nil {
			return c, errs.New(errs.InvalidParameter, "bip %s: %w", c.BIP, err)
		}
	}
	return c, nil
}
