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

// MemberChange says on which conditions the membership is changed. Its zero value is none.
type MemberChange struct {
	// ConfigIndex is that of the Members in sight of which the change was decided. If the
	// membership is another by then, the change is refused (conflict). 0: it does not matter.
	ConfigIndex uint64
	// Force takes a member, or its vote, away though too few voters are left that answer.
	Force bool
}

func (m MemberChange) query(id string) url.Values {
	q := url.Values{}
	if m.ConfigIndex > 0 {
		q.Set("cas", strconv.FormatUint(m.ConfigIndex, 10))
	}
	if m.Force {
		q.Set("force", id)
	}
	return q
}

// repeat is whether a change may be asked for again when it is not known whether it was done:
// the second time, the index would be another.
func (m MemberChange) repeat() repeat {
	if m.ConfigIndex > 0 {
		return 0
	}
	return harmless
}

// AddMember takes the running coordinator at a peer address into the cluster. Of the conditions Force means nothing here.
func (c *Client) AddMember(ctx context.Context, in wire.AddMember, on MemberChange) (wire.Member, Meta, error) {
	var out wire.Member
	on.Force = false
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/members", query: on.query(""), body: in, extra: membershipExtra}, &out)
	return out, meta, err
}

// RemoveMember takes a coordinator out of the cluster, by id.
func (c *Client) RemoveMember(ctx context.Context, id string, on MemberChange) (wire.MemberChangeResult, Meta, error) {
	return c.changeMember(ctx, request{method: http.MethodDelete, path: memberPath(id), query: on.query(id)})
}

// Promote gives a coordinator a vote. Of the conditions Force means nothing here.
func (c *Client) Promote(ctx context.Context, id string, on MemberChange) (wire.MemberChangeResult, Meta, error) {
	on.Force = false
	return c.changeMember(ctx, request{method: http.MethodPost, path: memberPath(id) + "/promote", query: on.query(id), repeat: on.repeat()})
}

// Demote takes a coordinator's vote; it goes on replicating.
func (c *Client) Demote(ctx context.Context, id string, on MemberChange) (wire.MemberChangeResult, Meta, error) {
	return c.changeMember(ctx, request{method: http.MethodPost, path: memberPath(id) + "/demote", query: on.query(id), repeat: on.repeat()})
}

func (c *Client) changeMember(ctx context.Context, r request) (wire.MemberChangeResult, Meta, error) {
	var out wire.MemberChangeResult
	r.extra = membershipExtra
	meta, err := c.do(ctx, r, &out)
	return out, meta, err
}

// Autopilot tells what the leader goes by when it changes the membership by itself, and how the members are.
func (c *Client) Autopilot(ctx context.Context, r Read) (wire.Autopilot, Meta, error) {
	var out wire.Autopilot
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/autopilot", query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

// SetAutopilot sets some of it; what is nil stays as it is.
func (c *Client) SetAutopilot(ctx context.Context, in wire.AutopilotSettings) (wire.Autopilot, Meta, error) {
	var out wire.Autopilot
	meta, err := c.do(ctx, request{method: http.MethodPut, path: "/autopilot", body: in, repeat: harmless}, &out)
	return out, meta, err
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
