package network

import (
	"log/slog"
	"strings"

	"github.com/davit-engine/davit/errs"
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
	case !validInterface(c.Bridge):
		return c, badInterface("the name of a bridge", c.Bridge)
	case strings.ContainsAny(c.Table, "/ \t\n"):
		return c, errs.New(errs.InvalidParameter, "%q cannot be the name of an nftables table", c.Table)
	case c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535):
		return c, errs.New(errs.InvalidParameter, "an MTU of %d is not between 68 and 65535 bytes", c.MTU)
	}
	if c.BIP.IsValid() {
		switch part := c.FixedCIDR; {
		case !c.BIP.Addr().Is4():
			return c, errs.New(errs.InvalidParameter, "bip %s is not an IPv4 range", c.BIP)
		case c.BIP.Bits() > 30:
			return c, errs.New(errs.InvalidParameter, "bip %s has no room for containers: give the bridge a /30 or larger", c.BIP)
		case c.BIP.Addr() == c.BIP.Masked().Addr() || c.BIP.Addr() == lastOf(c.BIP):
			return c, errs.New(errs.InvalidParameter, "bip: %s cannot be the bridge's address in %s", c.BIP.Addr(), c.BIP.Masked())
		case part.IsValid() && (part.Bits() < c.BIP.Bits() || !c.BIP.Contains(part.Addr())):
			return c, errs.New(errs.InvalidParameter, "fixed-cidr %s does not lie in the bridge's range %s", part, c.BIP.Masked())
		}
	}
	c.FixedCIDR = c.FixedCIDR.Masked()
	return c, nil
}
