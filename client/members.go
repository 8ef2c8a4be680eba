package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/folkmoot/folkmoot/wire"
)

// Members lists the coordinators of the cluster.
func (c *Client) Members(ctx context.Context, r Read) (wire.Members, Meta, error) {
	var out wire.Members
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/members", query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

// AddMember takes the running coordinator at a peer address into the cluster.
func (c *Client) AddMember(ctx context.Context, in wire.AddMember) (wire.Member, Meta, error) {
	var out wire.Member
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/members", body: in, extra: membershipExtra}, &out)
	return out, meta, err
}

// RemoveMember takes a coordinator out of the cluster, by id.
func (c *Client) RemoveMember(ctx context.Context, id string) (Meta, error) {
	return c.do(ctx, request{method: http.MethodDelete, path: memberPath(id), extra: membershipExtra}, nil)
}

// Promote gives a coordinator a vote.
func (c *Client) Promote(ctx context.Context, id string) (Meta, error) {
	return c.do(ctx, request{method: http.MethodPost, path: memberPath(id) + "/promote", repeat: harmless, extra: membershipExtra}, nil)
}

// Demote takes a coordinator's vote; it goes on replicating.
func (c *Client) Demote(ctx context.Context, id string) (Meta, error) {
	return c.do(ctx, request{method: http.MethodPost, path: memberPath(id) + "/demote", repeat: harmless, extra: membershipExtra}, nil)
}

// Leader names the leader.
func (c *Client) Leader(ctx context.Context) (wire.Leader, Meta, error) {
	var out wire.Leader
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/leader"}, &out)
	return out, meta, err
}

// TransferLeadership hands leadership to the coordinator named, or to the best follower if to is empty. It returns the
// leader of the new term. Errors: conflict (another one was elected, say), unavailable, unknown (no new leader is known
// yet).
func (c *Client) TransferLeadership(ctx context.Context, to string) (wire.Leader, Meta, error) {
	var out wire.Leader
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/leader/transfer", body: wire.Transfer{To: to}, extra: membershipExtra}, &out)
	return out, meta, err
}

// Status describes the coordinator that answers.
func (c *Client) Status(ctx context.Context) (wire.Status, Meta, error) {
	var out wire.Status
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/status"}, &out)
	return out, meta, err
}

// Digest is the fingerprint of the replicated state, of now or of an index still remembered.
func (c *Client) Digest(ctx context.Context, index uint64) (wire.Digest, Meta, error) {
	q := url.Values{}
	if index > 0 {
		q.Set("index", strconv.FormatUint(index, 10))
	}
	var out wire.Digest
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/digest", query: q}, &out)
	return out, meta, err
}

// Level tells the cluster's level, and which one each member knows.
func (c *Client) Level(ctx context.Context, r Read) (wire.Level, Meta, error) {
	var out wire.Level
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/level", query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

// RaiseLevel raises the cluster's level, to the highest that the coordinator asked knows if to is 0; there is no way back.
// One that is raised already is done. Errors: conflict (a coordinator, which is named, does not know the level).
func (c *Client) RaiseLevel(ctx context.Context, to int) (wire.RaisedLevel, Meta, error) {
	var in wire.RaiseLevel
	if to != 0 {
		in.Level = &to
	}
	var out wire.RaisedLevel
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/level", body: in, repeat: harmless}, &out)
	return out, meta, err
}

// membershipExtra is granted to changes of membership, which wait for a newcomer to catch up.
const membershipExtra = DefaultAttempt

func memberPath(id string) string { return "/members/" + url.PathEscape(id) }
