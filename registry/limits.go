package registry

import (
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Limits of what is proposed, beyond those of package wire. They are this
// binary's own and may change with the next one: whoever proposes a command asks
// its Validate first, and what is in the log is carried out whatever they are.
const (
	MaxLease    = 24 * time.Hour
	MaxSlots    = 10_000
	MaxRuntimes = 64
	MaxReason   = 1024 // bytes
)

// Validate says which field of a sign-in no door of this binary lets through.
// The error is a *wire.Error of code invalid.
func (c SignIn) Validate() error {
	if err := CheckName("namespace", c.Namespace); err != nil {
		return err
	}
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	if err := checkID("session", c.Session); err != nil {
		return err
	}
	if err := checkID("secret_hash", c.SecretHash); err != nil {
		return err
	}
	if err := checkID("home", c.Home); err != nil {
		return err
	}
	if err := checkText("kind", c.Kind, wire.MaxName); err != nil {
		return err
	}
	if err := checkText("token", c.Token, wire.MaxName); err != nil {
		return err
	}
	switch {
	case c.Lease < 0 || c.Lease > MaxLease:
		return wire.Invalid("lease", "lease %s is not within 0s..%s", c.Lease, MaxLease)
	case c.Slots < 0 || c.Slots > MaxSlots:
		return wire.Invalid("slots", "slots %d is not within 0..%d", c.Slots, MaxSlots)
	case len(c.Runtimes) > MaxRuntimes:
		return wire.Invalid("runtimes", "%d runtimes, at most %d are allowed", len(c.Runtimes), MaxRuntimes)
	case len(c.Place.Host) > wire.MaxName || len(c.Place.Group) > wire.MaxName:
		return wire.Invalid("place", "place has a host or group of more than %d bytes", wire.MaxName)
	}
	for _, r := range c.Runtimes {
		if err := checkID("runtimes", r); err != nil {
			return err
		}
	}
	return checkLabels(c.Labels)
}

// Validate says which field of an announcement no binary of this release
// proposes. The error is a *wire.Error of code invalid.
func (c Announce) Validate() error {
	row := &c.Coordinator
	if err := checkID("id", row.ID); err != nil {
		return err
	}
	if strings.ContainsAny(row.ID, "/ ") {
		return wire.Invalid("id", "id %q has a '/' or a blank in it", row.ID)
	}
	if err := CheckName("namespace", row.Namespace); err != nil {
		return err
	}
	if row.Level < 0 {
		return wire.Invalid("level", "level %d is below 1", row.Level)
	}
	for _, f := range []struct{ name, value string }{
		{"server_id", row.ServerID},
		{"peer_addr", row.PeerAddr},
		{"http_addr", row.HTTPAddr},
		{"component_addr", row.ComponentAddr},
		{"leco_addr", row.LECOAddr},
		{"version", row.Version},
	} {
		if err := checkText(f.name, f.value, 2*wire.MaxName+1); err != nil {
			return err
		}
	}
	if row.ServerID == "" {
		return wire.Invalid("server_id", "server_id is empty")
	}
	return nil
}

// Validate says what is wrong with the reason. The error is a *wire.Error of
// code invalid.
func (c Expire) Validate() error { return checkReason(c.Reason) }

// Validate says what is wrong with the reason. The error is a *wire.Error of
// code invalid.
func (c Remove) Validate() error { return checkReason(c.Reason) }

func checkReason(reason string) error {
	if len(reason) > MaxReason {
		return wire.Invalid("reason", "reason has %d bytes, at most %d are allowed", len(reason), MaxReason)
	}
	return nil
}

// checkLabels names the first bad one, the same on every coordinator.
func checkLabels(labels Labels) error {
	if len(labels) > wire.MaxLabels {
		return wire.Invalid("labels", "%d labels, at most %d are allowed", len(labels), wire.MaxLabels)
	}
	for _, l := range labels {
		if l.Key == "" || strings.ContainsRune(l.Key, '=') {
			return wire.Invalid("labels", "label %q: a key is not empty and has no '='", l.Key)
		}
		if len(l.Key)+len(l.Value) > wire.MaxLabelSize {
			return wire.Invalid("labels", "label %.40q has more than %d bytes", l.Key, wire.MaxLabelSize)
		}
	}
	return nil
}

// CheckName reports whether s can be the name of a namespace or a component: 1
// to 255 bytes of printable ASCII (0x20..0x7E) without '.', no blank at either
// end, and not COORDINATOR in any case. The error is a *wire.Error of code
// invalid that names field.
func CheckName(field, s string) error {
	if err := checkText(field, s, wire.MaxName); err != nil {
		return err
	}
	switch {
	case s == "":
		return wire.Invalid(field, "%s is empty", field)
	case strings.IndexByte(s, '.') >= 0:
		return wire.Invalid(field, "%s %q has a '.' in it, which is what parts a namespace from a name", field, s)
	case s[0] == ' ' || s[len(s)-1] == ' ':
		return wire.Invalid(field, "%s %q begins or ends with a blank", field, s)
	case strings.EqualFold(s, wire.Coordinator):
		return wire.Invalid(field, "%s %q is reserved for the coordinators", field, s)
	}
	return nil
}

// checkText refuses text that is longer than limit bytes or not printable ASCII.
func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return wire.Invalid(field, "%s has %d bytes, at most %d are allowed", field, len(s), limit)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7E {
			return wire.Invalid(field, "%s has the byte 0x%02x at place %d; printable ASCII is allowed", field, s[i], i)
		}
	}
	return nil
}

// checkID is checkText for ids, which are never empty.
func checkID(field, s string) error {
	if s == "" {
		return wire.Invalid(field, "%s is empty", field)
	}
	return checkText(field, s, wire.MaxName)
}
