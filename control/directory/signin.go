package directory

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of a sign-in.
const (
	DefaultLease  = 15 * time.Second
	ShortestLease = time.Second
	LongestLease  = 24 * time.Hour
	MaxSlots      = 1024
	MaxRuntimes   = 32
)

// SignIn gives a component its name and makes this coordinator its home. With
// Session and Secret of before it takes the name over: the session moves here
// and keeps its id, its secret, the parts it runs and all terms that are not
// named. With an idempotency key (16..128 printable bytes) a repeat answers the
// same session and secret, from any coordinator. It blocks for the write. Errors:
// invalid (with the field), name_taken, forbidden, not_found (namespace), busy
// (no room, see Bounds), conflict (of a take-over whose Attempt comes late),
// unavailable, unknown (repeat with the same key).
func (d *Directory) SignIn(ctx context.Context, who control.Principal, in wire.SignIn, key string) (wire.SignedIn, error) {
	if in.Namespace == "" {
		in.Namespace = d.Self().Namespace
	}
	if err := d.authorizeSignIn(who, in); err != nil {
		return wire.SignedIn{}, err
	}
	return d.signIn(ctx, who, in, key)
}

// authorizeSignIn refuses a sign-in that its principal may not make: a worker must
// be one that parts of some namespace may go to.
func (d *Directory) authorizeSignIn(who control.Principal, in wire.SignIn) error {
	err := d.Authorize(who, control.ComponentsWrite, control.Thing{Namespace: in.Namespace})
	if err == nil && (len(in.Runtimes) > 0 || in.Slots > 0) {
		err = d.Authorize(who, control.JobsWork, control.Thing{})
	}
	return err
}

// signIn is SignIn for who may, with the namespace.
func (d *Directory) signIn(ctx context.Context, who control.Principal, in wire.SignIn, key string) (wire.SignedIn, error) {
	if in.Lease == 0 && in.Session == "" { // a take-over keeps that of before
		in.Lease = wire.Duration(DefaultLease)
	}
	if err := checkSignIn(in); err != nil {
		return wire.SignedIn{}, err
	}
	if err := control.CheckKey(key); err != nil {
		return wire.SignedIn{}, err
	}
	if err := d.announced(ctx); err != nil {
		return wire.SignedIn{}, err
	}
	// The answer promises a lease from when the request was sent on.
	if err := d.Replica().WaitInTouch(ctx); err != nil {
		return wire.SignedIn{}, err
	}
	full := registry.FullName(in.Namespace, in.Name)
	session, secret, over, err := d.identity(in, full, key)
	if err != nil {
		return wire.SignedIn{}, err
	}
	command := registry.SignIn{
		Name: in.Name, Namespace: in.Namespace, Session: session, SecretHash: registry.HashSecret(secret),
		Home: d.Self().ID, Kind: string(who.Door()), Labels: registry.LabelsOf(in.Labels), Place: in.Place, Lease: time.Duration(in.Lease),
		Runtimes: in.Runtimes, Slots: in.Slots, TakeOver: over, Keep: over,
		Attempt: in.Attempt, Token: d.SessionToken(who),
	}
	if err := d.AdmitSession(ctx, command); err != nil {
		return wire.SignedIn{}, err
	}
	row, index, err := propose.Do[registry.Session](ctx, d.Proposer(), registry.KindSignIn, who.Author(control.ComponentsWrite, in.Namespace), command)
	if err != nil {
		return wire.SignedIn{}, err
	}
	d.home.Reconcile(row.FullName, row.ID)
	if err := d.Authorize(who, control.AnyRight, control.Thing{}); err != nil {
		// Its token ended meanwhile, perhaps before the session was there to end with it.
		_ = d.home.EndSessions(ctx, []registry.Fence{row.Fence()}, "token revoked")
		return wire.SignedIn{}, err
	}
	if err := d.leased(ctx, row); err != nil {
		return wire.SignedIn{}, err
	}
	return wire.SignedIn{
		FullName: row.FullName, Session: row.ID, Secret: secret, Namespace: row.Namespace,
		Home: row.Home, Lease: wire.Duration(row.Lease), Index: index, Attempt: row.Attempt,
	}, nil
}

// placeTime bounds the wait for this coordinator's own place in the registry: one
// whose namespace is another's never gets it.
const placeTime = 3 * time.Second

// announced waits until this coordinator is in the registry, which it is a
// moment after it has joined. Errors: unavailable (not within placeTime, or ctx
// ended before).
func (d *Directory) announced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, placeTime)
	defer cancel()
	for {
		changed := d.Feed().Changed() // before looking, so that nothing is missed
		if _, ok := d.State().Registry.Coordinator(d.Self().ID); ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return wire.NotTried("coordinator %s has not taken its place in the cluster yet", d.Self().ID)
		}
	}
}

// leased renews the lease of a session that signed in: a repeated sign-in changes
// nothing, and its lease runs already. The session's home renews it, which is another
// coordinator if the first sign-in was carried out there.
func (d *Directory) leased(ctx context.Context, row registry.Session) error {
	if row.Home != d.Self().ID {
		if _, err := d.home.Beat(ctx, row); err != nil {
			return wire.Unknown(fmt.Errorf("%s signed in at %s, which does not hold its lease now: %w", row.FullName, row.Home, err))
		}
		return nil
	}
	return d.home.RenewLease(row)
}

// identity returns the session id and secret the sign-in is made under.
func (d *Directory) identity(in wire.SignIn, full, key string) (session, secret string, over bool, err error) {
	switch {
	case in.Session != "" && in.Secret == "":
		return "", "", false, wire.Invalid("secret", "to take %s over, the session's secret is needed as well", full)
	case in.Session == "" && in.Secret != "":
		return "", "", false, wire.Invalid("session", "to take %s over, the session's id is needed as well", full)
	case in.Session != "":
		if id, ok := control.SessionOfSecret(in.Secret); !ok || id != in.Session {
			return "", "", false, wire.Refuse(wire.CodeForbidden, "that is not the secret of session %q", in.Session)
		}
		return in.Session, in.Secret, true, nil
	case key != "":
		session, secret = control.DeriveSecret(key, full)
		return session, secret, false, nil
	}
	session, secret, err = d.NewSecret()
	return session, secret, false, err
}

func checkSignIn(in wire.SignIn) error {
	if err := registry.CheckName("name", in.Name); err != nil {
		return err
	}
	if err := registry.CheckName("namespace", in.Namespace); err != nil {
		return err
	}
	if l := time.Duration(in.Lease); (l != 0 || in.Session == "") && (l < ShortestLease || l > LongestLease) {
		return wire.Invalid("lease", "a lease is %v to %v, not %v", ShortestLease, LongestLease, l)
	}
	if in.Slots < 0 || in.Slots > MaxSlots {
		return wire.Invalid("slots", "slots are 0 to %d, not %d", MaxSlots, in.Slots)
	}
	if len(in.Session) > 64 || len(in.Secret) > 256 {
		return wire.Invalid("session", "that is not a session id and its secret")
	}
	if err := checkLabels(in.Labels); err != nil {
		return err
	}
	if !control.PlainText(in.Place.Host, wire.MaxName) || !control.PlainText(in.Place.Group, wire.MaxName) {
		return wire.Invalid("place", "host and group are at most %d bytes of text", wire.MaxName)
	}
	return checkRuntimes(in.Runtimes)
}

func checkLabels(labels map[string]string) error {
	if len(labels) > wire.MaxLabels {
		return wire.Invalid("labels", "at most %d labels, not %d", wire.MaxLabels, len(labels))
	}
	for k, v := range labels {
		switch {
		case k == "" || strings.ContainsRune(k, '='):
			return wire.Invalid("labels", "label %.40q: a key is not empty and has no '='", k)
		case len(k)+len(v) > wire.MaxLabelSize:
			return wire.Invalid("labels", "label %.40q is longer than %d bytes", k, wire.MaxLabelSize)
		case !control.PlainText(k, wire.MaxLabelSize) || !control.PlainText(v, wire.MaxLabelSize):
			return wire.Invalid("labels", "label %.40q is not plain text", k)
		}
	}
	return nil
}

func checkRuntimes(runtimes []string) error {
	if len(runtimes) > MaxRuntimes {
		return wire.Invalid("runtimes", "at most %d runtimes, not %d", MaxRuntimes, len(runtimes))
	}
	seen := make(map[string]bool, len(runtimes))
	for _, r := range runtimes {
		if r == "" || len(r) > 64 || strings.Trim(r, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-") != "" {
			return wire.Invalid("runtimes", "a runtime is 1 to 64 letters, digits and ._+-, not %.80q", r)
		}
		if seen[r] {
			return wire.Invalid("runtimes", "runtime %q is named twice", r)
		}
		seen[r] = true
	}
	return nil
}
