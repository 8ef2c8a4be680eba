package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/snapshots"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/wire"
)

// Control is what this door asks of a coordinator. The packages below control say
// what each does and refuses.
type Control interface {
	UseCases
	// Now tells without blocking how fresh this coordinator's own state is.
	Now() control.Fresh
	Inbox(ctx context.Context, who control.Principal, full string) (Inbox, error)
	Events(who control.Principal, topics []string, after *control.Position) (Cursor, error)
}

// UseCases is the part of Control that *usecases.UseCases have as it is.
type UseCases interface {
	Leads() string
	ClusterID() string
	// Authenticate is asked once for each request, before its body is read.
	Authenticate(from control.Credentials) (control.Principal, error)
	// AuthenticateJoin is asked in its place for a route that takes a join token.
	AuthenticateJoin(ctx context.Context, from control.Credentials) (control.Principal, error)
	// Filtered tells whether there may be rows of a right that who does not see.
	Filtered(who control.Principal, right control.Right) bool

	SignIn(ctx context.Context, who control.Principal, in wire.SignIn, key string) (wire.SignedIn, error)
	SignOut(ctx context.Context, who control.Principal, full string) (uint64, error)
	Heartbeat(ctx context.Context, who control.Principal, full string) (wire.Beat, error)
	RemoveComponent(ctx context.Context, who control.Principal, full, reason string) (uint64, error)
	Components(ctx context.Context, who control.Principal, r control.Read, f directory.ComponentFilter, p control.Page) (wire.Components, control.Fresh, error)
	Component(ctx context.Context, who control.Principal, r control.Read, full string) (wire.Component, control.Fresh, error)
	Namespaces(ctx context.Context, who control.Principal, r control.Read) (map[string]wire.Namespace, control.Fresh, error)

	Send(ctx context.Context, who control.Principal, in wire.SendMessage, key string) (wire.Sent, error)
	Serves(to string) (bool, error)
	Call(ctx context.Context, who control.Principal, method string, params json.RawMessage) (any, uint64, error)
	Request(ctx context.Context, who control.Principal, to, method string, params json.RawMessage) (json.RawMessage, error)

	Submit(ctx context.Context, who control.Principal, in wire.SubmitJob, key string) (wire.Job, uint64, error)
	CancelJob(ctx context.Context, who control.Principal, id, reason string) (wire.Job, uint64, error)
	ForgetJob(ctx context.Context, who control.Principal, id string) (wire.Job, uint64, error)
	Jobs(ctx context.Context, who control.Principal, r control.Read, f work.JobFilter, p control.Page) (wire.Jobs, control.Fresh, error)
	Job(ctx context.Context, who control.Principal, r control.Read, id string) (wire.Job, control.Fresh, error)
	Parts(ctx context.Context, who control.Principal, r control.Read, id, state string, p control.Page) (wire.Parts, control.Fresh, error)
	Results(ctx context.Context, who control.Principal, r control.Read, id string, q work.ResultQuery) (iter.Seq2[wire.PartResult, error], control.Fresh, error)
	PartLog(ctx context.Context, who control.Principal, job string, q work.LogQuery) (home.LogChunk, error)
	JobLogs(ctx context.Context, who control.Principal, job string, part int, follow bool) (iter.Seq2[home.LogChunk, error], error)
	Workers(ctx context.Context, who control.Principal, r control.Read) (wire.Workers, control.Fresh, error)

	CreateToken(ctx context.Context, who control.Principal, in wire.NewToken, key string) (wire.Token, error)
	TokenList(ctx context.Context, who control.Principal, r control.Read, p control.Page) (wire.Tokens, control.Fresh, error)
	TokenByID(ctx context.Context, who control.Principal, r control.Read, id string) (wire.Token, control.Fresh, error)
	OwnToken(ctx context.Context, who control.Principal) (wire.Token, error)
	RevokeToken(ctx context.Context, who control.Principal, id string) (uint64, error)
	CreateJoinToken(ctx context.Context, who control.Principal, in wire.NewJoinToken, key string) (wire.JoinToken, error)
	SignCertificate(ctx context.Context, who control.Principal, in wire.SignCertificate) (wire.SignedCertificate, error)

	Snapshot(ctx context.Context, who control.Principal) (snapshots.Write, control.Fresh, error)
	Restore(ctx context.Context, who control.Principal, to snapshots.Target, open func(context.Context) (io.Reader, error)) (wire.Restored, error)

	Members(ctx context.Context, who control.Principal, r control.Read) (wire.Members, control.Fresh, error)
	AddMember(ctx context.Context, who control.Principal, in wire.AddMember, c control.MemberChange) (wire.Member, uint64, error)
	Autopilot(ctx context.Context, who control.Principal, r control.Read) (wire.Autopilot, control.Fresh, error)
	SetAutopilot(ctx context.Context, who control.Principal, in wire.AutopilotSettings) (wire.Autopilot, uint64, error)
	RemoveMember(ctx context.Context, who control.Principal, id string, c control.MemberChange) (wire.MemberChangeResult, error)
	Promote(ctx context.Context, who control.Principal, id string, c control.MemberChange) (wire.MemberChangeResult, error)
	Demote(ctx context.Context, who control.Principal, id string, c control.MemberChange) (wire.MemberChangeResult, error)
	Transfer(ctx context.Context, who control.Principal, in wire.Transfer) (wire.Leader, error)
	Leader(ctx context.Context, who control.Principal) (wire.Leader, error)
	Status(ctx context.Context, who control.Principal) (wire.Status, error)
	Audit(ctx context.Context, who control.Principal, after uint64, limit int) (wire.Audit, error)
	AuditAnchors(ctx context.Context, who control.Principal, r control.Read, coordinator string) (wire.AuditAnchors, control.Fresh, error)
	Debug(ctx context.Context, who control.Principal, cpu time.Duration, start func() (io.Writer, error)) error
	Digest(ctx context.Context, who control.Principal, r control.Read) (wire.Digest, control.Fresh, error)
	Level(ctx context.Context, who control.Principal, r control.Read) (wire.Level, control.Fresh, error)
	RaiseLevel(ctx context.Context, who control.Principal, in wire.RaiseLevel) (wire.RaisedLevel, error)
}

// Inbox is the mailbox of one session, as *home.Inbox is one.
type Inbox interface {
	Receive(ctx context.Context, after uint64, max int) ([]wire.Received, error)
}

// Cursor reads the feed, as *control.Cursor does.
type Cursor interface {
	Next(ctx context.Context) (events []wire.Event, lagged bool, err error)
	At() control.Position
	Filtered() bool // there may be events that the principal does not see
}
