package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup/dbus"
	"golang.org/x/sys/unix"
)

// Names on D-Bus.
const (
	service   = "org.freedesktop.systemd1"
	object    = "/org/freedesktop/systemd1"
	managing  = "org.freedesktop.systemd1.Manager"
	scoping   = "org.freedesktop.systemd1.Scope"
	reading   = "org.freedesktop.DBus.Properties"
	errExists = "org.freedesktop.systemd1.UnitExists"
	errNoUnit = "org.freedesktop.systemd1.NoSuchUnit"
)

// Manager is a systemd that can be asked for units: the host's or a user's.
type Manager struct {
	sockets []socket // tried in order
	user    bool
}

type socket struct {
	path string
	bus  bool // a bus that systemd is on, not systemd itself
}

// System returns the host's systemd. Root reaches it directly, without a bus
// that would have to run.
func System() Manager {
	return Manager{sockets: []socket{{path: "/run/systemd/private"}, {path: "/run/dbus/system_bus_socket", bus: true}}}
}

// User returns the systemd of the user whose runtime directory
// (XDG_RUNTIME_DIR) is dir.
func User(dir string) Manager {
	return Manager{user: true, sockets: []socket{{path: dir + "/systemd/private"}, {path: dir + "/bus", bus: true}}}
}

// connection is an open conversation with a systemd.
type connection struct {
	*dbus.Conn
	version int
}

func (m Manager) dial(ctx context.Context) (*connection, error) {
	var absent, failed []error
	for _, s := range m.sockets {
		conn, err := dial(ctx, s)
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, errs.New(errs.KindOf(ctx.Err()), "connecting to systemd: %w", err)
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
			absent = append(absent, err)
		default:
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		err := errors.Join(failed...)
		return nil, errs.New(kindOf(err), "connecting to systemd: %w", err)
	}
	whose := "systemd does not run on this host"
	if m.user {
		whose = "no systemd runs for this user"
	}
	return nil, errs.New(errs.Unavailable, "%s: leave --systemd-cgroup out: %w", whose, errors.Join(absent...))
}

func dial(ctx context.Context, s socket) (_ *connection, err error) {
	conn, err := dbus.Dial(ctx, s.path)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if s.bus {
		if err := c.Hello(ctx); err != nil {
			return nil, err
		}
		rule := "type='signal',sender='" + service + "',path='" + object + "',interface='" + managing + "',member='JobRemoved'"
		match := &dbus.Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: "AddMatch"}
		match.SetBody("s", func(e *dbus.Encoder) { e.String(rule) })
		if _, err := c.Call(ctx, match); err != nil {
			return nil, err
		}
	}
	text, err := c.property(ctx, object, managing, "Version")
	if err != nil {
		return nil, err
	}
	if c.version, err = parseVersion(text); err != nil {
		return nil, err
	}
	_, err = c.manage(ctx, "Subscribe", "", func(*dbus.Encoder) {})
	return c, err
}

// parseVersion returns the number in versions such as "252.38-1~deb12u1" and
// "v245.4".
func parseVersion(text string) (int, error) {
	digits := strings.TrimPrefix(text, "v")
	if end := strings.IndexFunc(digits, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("systemd says that its version is %q", text)
	}
	return n, nil
}

// manage calls a method of systemd's manager.
func (c *connection) manage(ctx context.Context, method, signature string, body func(*dbus.Encoder)) (*dbus.Message, error) {
	m := &dbus.Message{Destination: service, Path: object, Interface: managing, Member: method}
	if signature != "" {
		m.SetBody(signature, body)
	}
	return c.Call(ctx, m)
}

// property reads a property that is a string.
func (c *connection) property(ctx context.Context, path, of, name string) (string, error) {
	m := &dbus.Message{Destination: service, Path: path, Interface: reading, Member: "Get"}
	m.SetBody("ss", func(e *dbus.Encoder) { e.String(of); e.String(name) })
	answer, err := c.Call(ctx, m)
	if err != nil {
		return "", err
	}
	if err := expect(answer, "v"); err != nil {
		return "", err
	}
	d := answer.Body()
	d.Expect("s")
	return d.String(), d.Err()
}

// expect refuses an answer with values of other types.
func expect(m *dbus.Message, signature string) error {
	if m.Signature != signature {
		return errs.New(errs.System, "systemd answered with values of types %q, not %q", m.Signature, signature)
	}
	return nil
}

// job calls a method that begins a job, and waits until it is done.
func (c *connection) job(ctx context.Context, method, signature string, body func(*dbus.Encoder)) (result string, err error) {
	answer, err := c.manage(ctx, method, signature, body)
	if err != nil {
		return "", err
	}
	if err := expect(answer, "o"); err != nil {
		return "", err
	}
	d := answer.Body()
	job := d.String()
	if d.Err() != nil {
		return "", d.Err()
	}
	_, err = c.Wait(ctx, func(m *dbus.Message) bool {
		if m.Interface != managing || m.Member != "JobRemoved" || m.Signature != "uoss" {
			return false
		}
		d := m.Body()
		d.Uint32()
		path := d.String()
		_ = d.String() // the unit
		result = d.String()
		return d.Err() == nil && path == job
	})
	return result, err
}

// start makes a transient scope.
func (c *connection) start(ctx context.Context, unit string, list []property) error {
	call := func() (string, error) {
		return c.job(ctx, "StartTransientUnit", "ssa(sv)a(sa(sv))", func(e *dbus.Encoder) {
			e.String(unit)
			e.String("replace")
			encodeProperties(e, list)
			e.Array(8, func() {}) // no further units
		})
	}
	result, err := call()
	if is(err, errExists) {
		// What a crash left behind as failed goes when it is told to.
		_ = c.reset(ctx, unit)
		result, err = call()
	}
	switch {
	case is(err, errExists):
		return errs.New(errs.Conflict, "systemd unit %s exists already: %w", unit, err)
	case err != nil:
		return errs.New(kindOf(err), "starting systemd unit %s: %w", unit, err)
	case result != "done":
		_ = c.reset(ctx, unit)
		return errs.New(errs.System, "starting systemd unit %s: its job ended as %q", unit, result)
	}
	return nil
}

// stop ends a scope. One that is gone is no error: systemd drops an empty one.
func (c *connection) stop(ctx context.Context, unit string) error {
	_, err := c.job(ctx, "StopUnit", "ss", func(e *dbus.Encoder) {
		e.String(unit)
		e.String("replace")
	})
	if err != nil && !is(err, errNoUnit) {
		return errs.New(kindOf(err), "stopping systemd unit %s: %w", unit, err)
	}
	_ = c.reset(ctx, unit) // it fails if the unit did not fail
	return nil
}

func (c *connection) reset(ctx context.Context, unit string) error {
	_, err := c.manage(ctx, "ResetFailedUnit", "s", func(e *dbus.Encoder) { e.String(unit) })
	return err
}

func (c *connection) set(ctx context.Context, unit string, list []property) error {
	_, err := c.manage(ctx, "SetUnitProperties", "sba(sv)", func(e *dbus.Encoder) {
		e.String(unit)
		e.Bool(true) // for this run of the host only
		encodeProperties(e, list)
	})
	if err != nil {
		return errs.New(kindOf(err), "updating systemd unit %s: %w", unit, err)
	}
	return nil
}

// place returns where the scope's group lies below the hierarchies' roots.
func (c *connection) place(ctx context.Context, unit string) (string, error) {
	answer, err := c.manage(ctx, "GetUnit", "s", func(e *dbus.Encoder) { e.String(unit) })
	if err == nil {
		err = expect(answer, "o")
	}
	if err != nil {
		return "", errs.New(kindOf(err), "looking for systemd unit %s: %w", unit, err)
	}
	d := answer.Body()
	path := d.String()
	if d.Err() != nil {
		return "", d.Err()
	}
	group, err := c.property(ctx, path, scoping, "ControlGroup")
	if err != nil {
		return "", errs.New(kindOf(err), "looking for the cgroup of systemd unit %s: %w", unit, err)
	}
	if group == "" {
		return "", errs.New(errs.System, "systemd unit %s has no cgroup", unit)
	}
	return group, nil
}

// is reports whether the peer answered with the error of that name.
func is(err error, name string) bool {
	var e *dbus.Error
	return errors.As(err, &e) && e.Name == name
}

func kindOf(err error) errs.Kind {
	switch {
	case is(err, errNoUnit):
		return errs.NotFound
	case errors.Is(err, os.ErrPermission), is(err, "org.freedesktop.DBus.Error.AccessDenied"), is(err, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"):
		return errs.Forbidden
	case is(err, "org.freedesktop.DBus.Error.InvalidArgs"), is(err, "org.freedesktop.DBus.Error.PropertyReadOnly"):
		return errs.InvalidParameter
	}
	if kind := errs.KindOf(err); kind != errs.Unknown {
		return kind
	}
	return errs.System
}
