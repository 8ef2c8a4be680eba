package control

import (
	"context"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// JoinRight is that of a join token: to have one certificate signed. No grant has it.
const JoinRight Right = "join"

// joinID begins the id of a join token; that of the coordinator which it is for follows.
const joinID = "join:"

var errNoJoinToken = wire.Refuse(wire.CodeUnauthorized, "this needs a join token, sent as the header Authorization: Bearer TOKEN")

// AuthenticateJoin is Authenticate for the one use case that takes a join token. A
// join token is looked up anew where it is not known, since its bearer may be faster
// than this coordinator. Errors: unauthorized (nothing good is presented: of a join
// token also that it was used or has expired), unavailable (nobody newer can be asked).
func (c *Core) AuthenticateJoin(ctx context.Context, from Credentials) (Principal, error) {
	if !strings.HasPrefix(from.Token, wire.JoinTokenPrefix) {
		who, err := c.Authenticate(from)
		if err == nil && who.token == "" {
			err = errNoJoinToken
		}
		return who, err
	}
	row, err := c.JoinToken(ctx, from.Token)
	if err != nil {
		return Principal{}, err
	}
	who := Principal{token: joinID + row.ID, join: from.Token}
	from.Token = ""
	who.from = from
	return who, nil
}

// JoinToken returns the row of a join token that is good now. Errors: those of
// AuthenticateJoin.
func (c *Core) JoinToken(ctx context.Context, token string) (access.JoinToken, error) {
	if _, err := wire.ParseJoinToken(token); err != nil {
		return access.JoinToken{}, wire.Refuse(wire.CodeUnauthorized, "%v", err)
	}
	hash := HashToken(token)
	return Certain(ctx, c, func(view *fsm.State) (access.JoinToken, error) {
		row, ok := view.Access.JoinToken(hash)
		switch {
		case !ok:
			return row, wire.Refuse(wire.CodeUnauthorized, "the join token is not known here, or has expired: have another made (raftctl tokens join)")
		case row.Use != "":
			return row, wire.Refuse(wire.CodeUnauthorized, "the join token for %s was used: each opens one certificate; have another made (raftctl tokens join)", row.ID)
		case !c.now().Before(row.Expires):
			return row, wire.Refuse(wire.CodeUnauthorized, "the join token for %s expired at %s: have another made (raftctl tokens join)", row.ID, row.Expires.UTC().Format(time.RFC3339))
		}
		return row, nil
	})
}

// AuthorizeJoin returns the join token by which a principal was let in. Errors:
// unauthorized (it presents nothing good), forbidden (it presents a token of another
// kind, whatever that may do else).
func (a *Authenticator) AuthorizeJoin(who Principal) (token string, err error) {
	if who.join != "" {
		return who.join, nil
	}
	if err := a.Authorize(who, AnyRight, Thing{}); err != nil {
		return "", err
	}
	if who.token == "" {
		return "", errNoJoinToken
	}
	e := wire.Refuse(wire.CodeForbidden, "this needs a join token (raftctl tokens join), which token %s is not", who.token)
	e.Needs, e.Token = string(JoinRight), who.token
	return "", e
}
