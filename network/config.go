package network

import (
	"log/slog"
	"net/netip"
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
	if err := c.checkRanges(); err != nil {
		return c, err
	}
	c.FixedCIDR, c.FixedCIDR6 = c.FixedCIDR.Masked(), c.FixedCIDR6.Masked()
	return c, nil
}

// checkRanges checks what is asked of the default bridge's addresses.
func (c Config) checkRanges() error {
	for _, f := range []struct {
		bip, part           netip.Prefix
		name, option, fixed string
		v4                  bool
		most                int
	}{{c.BIP, c.FixedCIDR, "IPv4", "bip", "fixed-cidr", true, 30}, {c.BIP6, c.FixedCIDR6, "IPv6", "bip6", "fixed-cidr-v6", false, 126}} {
		switch {
		case !f.bip.IsValid():
		case f.bip.Addr().Is4() != f.v4:
			return errs.New(errs.InvalidParameter, "%s %s is not an %s range", f.option, f.bip, f.name)
		case f.bip.Bits() > f.most:
			return errs.New(errs.InvalidParameter, "%s %s has no room for containers: give the bridge a /%d or larger", f.option, f.bip, f.most)
		case f.bip.Addr() == f.bip.Masked().Addr() || f.v4 && f.bip.Addr() == lastOf(f.bip):
			return errs.New(errs.InvalidParameter, "%s: %s cannot be the bridge's address in %s", f.option, f.bip.Addr(), f.bip.Masked())
		case f.part.IsValid() && (f.part.Bits() < f.bip.Bits() || !f.bip.Contains(f.part.Addr())):
			return errs.New(errs.InvalidParameter, "%s %s does not lie in the bridge's range %s", f.fixed, f.part, f.bip.Masked())
		}
		if f.part.IsValid() && f.part.Addr().Is4() != f.v4 {
			return errs.New(errs.InvalidParameter, "%s %s is not an %s range", f.fixed, f.part, f.name)
		}
	}
	return nil
}
