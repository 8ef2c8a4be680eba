package directory

import (
	"context"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Enter signs a session in for a door, as SignIn does, and makes this its
// home. With Session and Secret of a session that is at home here already it
// is resumed: nothing is written, and resumed is true. Errors as of SignIn.
func (d *Directory) Enter(ctx context.Context, who control.Principal, in wire.SignIn, key string) (s *home.Session, out wire.SignedIn, resumed bool, err error) {
	if in.Namespace == "" {
		in.Namespace = d.Self().Namespace
	}
	if err := d.authorizeSignIn(who, in); err != nil {
		return nil, out, false, err
	}
	if row, ok := d.atHomeAlready(who, in); ok {
		if err := d.Replica().WaitInTouch(ctx); err != nil {
			return nil, out, false, err
		}
		s = d.home.Session(who, row)
		if !s.Promise() {
			return nil, out, false, home.LeaseEnding(row)
		}
		return s, wire.SignedIn{
			FullName: row.FullName, Session: row.ID, Secret: in.Secret, Namespace: row.Namespace,
			Home: row.Home, Lease: wire.Duration(row.Lease), Index: row.Index, Attempt: row.Attempt,
		}, true, nil
	}
	out, err = d.signIn(ctx, who, in, key)
	if err != nil {
		return nil, out, false, err
	}
	row, ok := d.State().Registry.SessionByID(out.Session)
	switch {
	case !ok:
		return nil, out, false, control.SessionGone(d.State().Registry, out.Session)
	case row.Home != d.Self().ID:
		return nil, out, false, wire.Refuse(wire.CodeConflict, "%s was taken over by coordinator %s", row.FullName, row.Home)
	}
	return d.home.Session(who, row), out, false, nil
}

// atHomeAlready returns the session that in wants to go on with, if it is at
// home here and its secret is right. All else is for the log to judge: also an
// attempt that is late, and one with others between it and the last that was
// carried out, which must not be carried out after it. So is one by another token,
// which the session belongs to from then on.
func (d *Directory) atHomeAlready(who control.Principal, in wire.SignIn) (registry.Session, bool) {
	if in.Session == "" || len(in.Secret) > 256 {
		return registry.Session{}, false
	}
	if id, ok := control.SessionOfSecret(in.Secret); !ok || id != in.Session {
		return registry.Session{}, false
	}
	row, err := control.CheckSecret(d.State().Registry, in.Session, in.Secret)
	if err != nil || row.Home != d.Self().ID || row.FullName != registry.FullName(in.Namespace, in.Name) || !d.SameToken(who, row) {
		return registry.Session{}, false
	}
	if in.Attempt > 0 && in.Attempt != row.Attempt+1 {
		return registry.Session{}, false
	}
	return row, true
}
