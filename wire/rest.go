package wire

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a time.Duration written as "15s" in JSON; a bare number is
// seconds.
type Duration time.Duration

// MarshalJSON writes "15s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads "15s" or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err == nil {
		v, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("a duration is written like \"15s\", not %q", s)
		}
		*d = Duration(v)
		return nil
	}
	var f float64
	if err := json.Unmarshal(b, &f); err != nil || f > 1e9 || f < -1e9 {
		return fmt.Errorf("a duration is written like \"15s\", not %s", b)
	}
	*d = Duration(f * float64(time.Second))
	return nil
}

// Place says where a session runs; scopes are judged by it.
type Place struct {
	Host  string `json:"host,omitempty"`
	Group string `json:"group,omitempty"`
}

// SignIn is the body of POST /v1/components.
type SignIn struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace,omitempty"` // default: that of the coordinator asked
	Session   string            `json:"session,omitempty"`   // with Secret: takes the name over
	Secret    string            `json:"secret,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Place     Place             `json:"place,omitzero"`
	Lease     Duration          `json:"lease,omitempty"` // default 15s
	Runtimes  []string          `json:"runtimes,omitempty"`
	Slots     int               `json:"slots,omitempty"`
	// Attempt, if not 0, numbers the client's tries to sign this session in, each
	// above all before: one that is carried out after a later one changes nothing
	// and is refused.
	Attempt uint64 `json:"attempt,omitempty"`
}

// SignedIn answers a sign-in.
type SignedIn struct {
	FullName  string   `json:"full_name"`
	Session   string   `json:"session"`
	Secret    string   `json:"secret"`
	Namespace string   `json:"namespace"`
	Home      string   `json:"home"`
	Lease     Duration `json:"lease"`
	Index     uint64   `json:"index"`
	Attempt   uint64   `json:"attempt,omitempty"` // the last numbered one that was carried out
}

// Component is one signed-in component as everybody may see it.
type Component struct {
	FullName  string            `json:"full_name"`
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Home      string            `json:"home"`
	Session   string            `json:"session"`
	Kind      string            `json:"kind"` // rest, native, leco
	Labels    map[string]string `json:"labels,omitempty"`
	Place     Place             `json:"place,omitzero"`
	Lease     Duration          `json:"lease"`
	Runtimes  []string          `json:"runtimes,omitempty"`
	Slots     int               `json:"slots,omitempty"`
	Since     time.Time         `json:"since"`
	Index     uint64            `json:"index"`
}

// Components is the answer of GET /v1/components. Next continues the list by
// ?after=; it is empty at the end.
type Components struct {
	Components []Component `json:"components"`
	Next       string      `json:"next,omitempty"`
}

// Namespace is one row of the address book.
type Namespace struct {
	Coordinator string   `json:"coordinator"`
	Components  []string `json:"components"`
}

// SendMessage is the body of POST /v1/messages. The sender is the session
// whose secret is in X-Session; From, if given, must be its own full name.
type SendMessage struct {
	To             string          `json:"to"`
	From           string          `json:"from,omitempty"`
	ConversationID string          `json:"conversation_id,omitempty"` // UUID; default a new v7
	Content        json.RawMessage `json:"content,omitempty"`         // first payload frame, as JSON
	Payload        [][]byte        `json:"payload,omitempty"`         // further frames, base64
	Timeout        Duration        `json:"timeout,omitempty"`         // default 5s
}

// Sent answers a send.
type Sent struct {
	Outcome        string `json:"outcome"` // delivered
	ConversationID string `json:"conversation_id"`
}

// Received is one message in an inbox.
type Received struct {
	Seq            uint64          `json:"seq"` // order in this inbox; pass it as ?after= to acknowledge
	To             string          `json:"to"`
	From           string          `json:"from"`
	ConversationID string          `json:"conversation_id"`
	Type           int             `json:"type"`
	Content        json.RawMessage `json:"content,omitempty"`
	Payload        [][]byte        `json:"payload,omitempty"`
}

// Inbox is the long-poll answer of GET /v1/components/{full}/messages.
type Inbox struct {
	Messages []Received `json:"messages"`
}

// SubmitJob is the body of POST /v1/jobs.
type SubmitJob struct {
	ID          string            `json:"id,omitempty"` // same id twice is the same job
	Name        string            `json:"name,omitempty"`
	Runtime     string            `json:"runtime"` // python3, sh
	Script      string            `json:"script"`
	Args        json.RawMessage   `json:"args,omitempty"`
	Items       []json.RawMessage `json:"items,omitempty"`
	Range       *Range            `json:"range,omitempty"`
	Priority    *int              `json:"priority,omitempty"` // 0..100, default 50; higher first
	Group       string            `json:"group,omitempty"`    // jobs of one group run one at a time
	Parallel    int               `json:"parallel,omitempty"` // parts at once; 0 is no limit
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Timeout     Duration          `json:"timeout,omitempty"`
	PartTimeout Duration          `json:"part_timeout,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"` // a worker must carry all of them
	Keep        Duration          `json:"keep,omitempty"`   // how long after its end; default 24h
	// Namespace says who may see the job, change it and work for it; "" is "default".
	Namespace string `json:"namespace,omitempty"`
	// Known to the contract, refused by name until they are served.
	Split  json.RawMessage `json:"split,omitempty"`
	Reduce json.RawMessage `json:"reduce,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// CheckZeros refuses the JSON of a SubmitJob that has 0 where a job cannot have it. Decoded, it
// would pass for a field that was left out, which has its default.
func CheckZeros(job []byte) error {
	var in struct {
		MaxAttempts *int      `json:"max_attempts"`
		PartTimeout *Duration `json:"part_timeout"`
		Keep        *Duration `json:"keep"`
		Range       *struct {
			Chunk *int64 `json:"chunk"`
		} `json:"range"`
	}
	if json.Unmarshal(job, &in) != nil {
		return nil // decoding it has the error
	}
	const why = "%s is above 0: leave it out for the default"
	switch {
	case in.MaxAttempts != nil && *in.MaxAttempts == 0:
		return Invalid("max_attempts", why, "max_attempts")
	case in.PartTimeout != nil && *in.PartTimeout == 0:
		return Invalid("part_timeout", why, "part_timeout")
	case in.Keep != nil && *in.Keep == 0:
		return Invalid("keep", why, "keep")
	case in.Range != nil && in.Range.Chunk != nil && *in.Range.Chunk == 0:
		return Invalid("range", why, "chunk")
	}
	return nil
}

// Range makes one part for every Chunk numbers of [From, To).
type Range struct {
	From  int64 `json:"from"`
	To    int64 `json:"to"`
	Chunk int64 `json:"chunk,omitempty"` // default 1
}

// Job is a job as everybody may see it.
type Job struct {
	ID          string            `json:"id"`
	Name        string            `json:"name,omitempty"`
	State       string            `json:"state"` // queued running done failed cancelled
	Reason      string            `json:"reason,omitempty"`
	Runtime     string            `json:"runtime"`
	Priority    int               `json:"priority"`
	Group       string            `json:"group,omitempty"`
	Parallel    int               `json:"parallel,omitempty"`
	MaxAttempts int               `json:"max_attempts"`
	Timeout     Duration          `json:"timeout,omitempty"`
	PartTimeout Duration          `json:"part_timeout"`
	Labels      map[string]string `json:"labels,omitempty"`
	Keep        Duration          `json:"keep"`
	Namespace   string            `json:"namespace,omitempty"` // "" is "default"
	Parts       PartCounts        `json:"parts"`
	// ResultBytes are the bytes of its parts' results and error texts, in an
	// answer; ResultQuota is what they may be together.
	ResultBytes int64     `json:"result_bytes,omitempty"`
	ResultQuota int64     `json:"result_quota,omitempty"`
	By          string    `json:"by,omitempty"`
	Submitted   time.Time `json:"submitted"`
	Started     time.Time `json:"started,omitzero"`
	Ended       time.Time `json:"ended,omitzero"`
	Index       uint64    `json:"index"` // of its last change
	// Known is only in the answer to a submission: the job was there before, under the same id or key.
	Known bool `json:"known,omitempty"`
	// Script and Args are only in the answer for one job.
	Script string          `json:"script,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
}

// PartCounts counts a job's parts by state.
type PartCounts struct {
	Total     int `json:"total"`
	Waiting   int `json:"waiting"`
	Assigned  int `json:"assigned"`
	Running   int `json:"running"`
	Done      int `json:"done"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
	Lost      int `json:"lost"`
	Retries   int `json:"retries"` // attempts beyond the first, over all parts
}

// Jobs is the answer of GET /v1/jobs.
type Jobs struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next,omitempty"`
}

// Part is one piece of a job.
type Part struct {
	Job      string          `json:"job"`
	Part     int             `json:"part"`
	State    string          `json:"state"` // waiting assigned running done failed cancelled lost
	Attempt  int             `json:"attempt"`
	Worker   string          `json:"worker,omitempty"`
	Home     string          `json:"home,omitempty"` // coordinator that keeps its log
	Item     json.RawMessage `json:"item,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
	Started  time.Time       `json:"started,omitzero"`
	Ended    time.Time       `json:"ended,omitzero"`
	Millis   int64           `json:"millis,omitempty"` // the worker's own measure of the run
	Failures int             `json:"failures,omitempty"`
	Losses   int             `json:"losses,omitempty"`
	FailedBy []string        `json:"failed_by,omitempty"` // workers whose attempts failed; the next one goes to another
}

// Parts is the answer of GET /v1/jobs/{id}/parts.
type Parts struct {
	Parts []Part `json:"parts"`
	Next  string `json:"next,omitempty"`
}

// PartResult is one line of GET /v1/jobs/{id}/results.
type PartResult struct {
	Part    int             `json:"part"`
	State   string          `json:"state"`
	Attempt int             `json:"attempt"`
	Worker  string          `json:"worker,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   string          `json:"error,omitempty"`
	Millis  int64           `json:"millis,omitempty"`
}

// Worker is a component that runs parts.
type Worker struct {
	FullName string            `json:"full_name"`
	Home     string            `json:"home"`
	Runtimes []string          `json:"runtimes"`
	Slots    int               `json:"slots"`
	Busy     int               `json:"busy"`
	Labels   map[string]string `json:"labels,omitempty"`
	Place    Place             `json:"place,omitzero"`
	// Suspect says why it gets fewer parts than its slots allow; "" when it does
	// not: its attempts failed where those of others succeeded.
	Suspect string `json:"suspect,omitempty"`
}

// Workers is the answer of GET /v1/workers.
type Workers struct {
	Workers []Worker `json:"workers"`
	Next    string   `json:"next,omitempty"` // with a limit: ?after= of the next page
}

// Member is one coordinator of the cluster.
type Member struct {
	ID            string  `json:"id"`
	ServerID      string  `json:"server_id"`
	Namespace     string  `json:"namespace"`
	Address       string  `json:"address"`
	HTTPAddress   string  `json:"http_address"`
	Suffrage      string  `json:"suffrage"` // voter, nonvoter
	State         string  `json:"state"`    // leader, follower, candidate, unreachable
	Alive         bool    `json:"alive"`
	LastIndex     uint64  `json:"last_index"`
	AppliedIndex  uint64  `json:"applied_index"`
	LastContactMs float64 `json:"last_contact_ms"` // since it last answered the coordinator asked; -1: never
	Version       string  `json:"version"`
	Healthy       bool    `json:"healthy"`
	Boot          uint64  `json:"boot,omitempty"`      // how often it was started with its data directory; 0: not known
	NonVoter      bool    `json:"non_voter,omitempty"` // it is to stay without a vote
	// Certificate is that of its peer port; nil without TLS, and while it is not known.
	Certificate *MemberCertificate `json:"certificate,omitempty"`
	// Disk is the volume of its data directory, as it said last; nil while that is not known, and from an older version.
	Disk *DiskSpace `json:"disk,omitempty"`
}

// MemberCertificate is what a coordinator shows at its peer port, and whom it trusts there.
type MemberCertificate struct {
	Expires time.Time `json:"expires"`
	Issuer  string    `json:"issuer"` // SHA-256 of the authority that signed it, in hex
	Trusts  []string  `json:"trusts"` // of all authorities that it trusts
}

// Members is the answer of GET /v1/members.
type Members struct {
	// ConfigIndex is the index of the log at which the membership was changed last: ?cas= of
	// the next change. 0: the coordinator asked does not know it yet.
	ConfigIndex uint64   `json:"config_index"`
	Members     []Member `json:"members"`
	Next        string   `json:"next,omitempty"` // with a limit: ?after= of the next page
}

// AutopilotSettings are what the leader goes by when it changes the membership by itself.
// It is the body of PUT /v1/autopilot: what is nil stays as it is.
type AutopilotSettings struct {
	CleanupDead   *bool     `json:"cleanup_dead,omitempty"`  // remove members that are dead
	DeadAfter     *Duration `json:"dead_after,omitempty"`    // for so long a member has not answered
	MinVoters     *int      `json:"min_voters,omitempty"`    // so many voters stay, dead or not
	Stabilization *Duration `json:"stabilization,omitempty"` // for so long a member is well before it votes
	MaxLag        *uint64   `json:"max_lag,omitempty"`       // entries that a member may be behind and be well
}

// Autopilot is the answer of GET and PUT /v1/autopilot: the settings that hold, and how the
// members are.
type Autopilot struct {
	CleanupDead      bool           `json:"cleanup_dead"`
	DeadAfter        Duration       `json:"dead_after"`
	MinVoters        int            `json:"min_voters"`
	Stabilization    Duration       `json:"stabilization"`
	MaxLag           uint64         `json:"max_lag"`
	Healthy          bool           `json:"healthy"`           // a leader is known, and every member is well
	FailureTolerance int            `json:"failure_tolerance"` // healthy voters that may fail now; -1: no leader is known
	Servers          []ServerHealth `json:"servers"`
}

// ServerHealth tells whether a member is well, as the coordinator asked sees it.
type ServerHealth struct {
	ID       string `json:"id"`
	ServerID string `json:"server_id"`
	Healthy  bool   `json:"healthy"`
	Reason   string `json:"reason,omitempty"` // why it is not
}

// MemberChangeResult is the answer to DELETE /v1/members/{id}, promote and demote.
type MemberChangeResult struct {
	ID string `json:"id"`
	// ConfigIndex is that of GET /v1/members after the change; 0: the leader is of an older version.
	ConfigIndex uint64 `json:"config_index,omitempty"`
}

// AddMember is the body of POST /v1/members: the peer address of a running
// coordinator to take in.
type AddMember struct {
	Address  string `json:"address"`
	NonVoter bool   `json:"non_voter,omitempty"`
}

// Transfer is the body of POST /v1/leader/transfer.
type Transfer struct {
	To string `json:"to,omitempty"` // a coordinator's id; default: the best follower
}

// Leader is the answer of GET /v1/leader.
type Leader struct {
	ID          string `json:"id"`
	ServerID    string `json:"server_id"`
	Address     string `json:"address"`
	HTTPAddress string `json:"http_address"`
	Term        uint64 `json:"term"`
}

// Status is the answer of GET /v1/status: this coordinator.
type Status struct {
	ID             string            `json:"id"`
	ServerID       string            `json:"server_id"`
	Namespace      string            `json:"namespace"`
	ClusterID      string            `json:"cluster_id"`
	State          string            `json:"state"`
	Leader         string            `json:"leader"`
	Term           uint64            `json:"term"`
	Version        string            `json:"version"`
	Level          int               `json:"level"`
	StartedAt      time.Time         `json:"started_at"`
	UptimeMs       int64             `json:"uptime_ms"`
	LastIndex      uint64            `json:"last_index"`
	CommitIndex    uint64            `json:"commit_index"`
	AppliedIndex   uint64            `json:"applied_index"`
	Ready          bool              `json:"ready"`
	ReadyReason    string            `json:"ready_reason,omitempty"`
	Warning        string            `json:"warning,omitempty"` // what an operator should mend though this coordinator runs
	Members        int               `json:"members"`
	Voters         int               `json:"voters"`
	Tolerance      int               `json:"failure_tolerance"` // healthy voters that may fail now before writes stop; -1 when it is not known
	Components     int               `json:"components"`
	LocalSessions  int               `json:"local_sessions"`
	Jobs           map[string]int    `json:"jobs"` // by state
	Workers        int               `json:"workers"`
	JobSize        *JobSize          `json:"job_size,omitempty"`
	Links          map[string]string `json:"links"` // coordinator id: up, or the last error
	LogStore       string            `json:"log_store"`
	DataDir        string            `json:"data_dir"`
	PreVote        bool              `json:"pre_vote"`
	LastSnapshot   uint64            `json:"last_snapshot"`
	HTTPAddress    string            `json:"http_address"`
	PeerAddress    string            `json:"peer_address"`
	RaftTimeouts   map[string]string `json:"raft_timeouts"`
	LeaderChanges  uint64            `json:"leader_changes"` // seen by this process
	GoVersion      string            `json:"go_version"`
	ProcessID      int               `json:"pid"`
	Goroutines     int               `json:"goroutines"`
	HeapBytes      uint64            `json:"heap_bytes"`
	MessageCounts  map[string]uint64 `json:"messages"` // as router.Stats counts them, by name, since the start
	WriteCounts    map[string]uint64 `json:"writes"`   // by outcome, since the start
	InsecureReason string            `json:"insecure_reason,omitempty"`
	SlowConsumers  *SlowConsumers    `json:"slow_consumers,omitempty"`
	Disk           *DiskSpace        `json:"disk,omitempty"`
}

// JobSize is what all jobs together take of every coordinator's memory, with
// the bounds that this coordinator keeps to.
type JobSize struct {
	Jobs           int   `json:"jobs"`
	MaxJobs        int   `json:"max_jobs"`
	Parts          int   `json:"parts"` // begun or not
	MaxParts       int   `json:"max_parts"`
	InputBytes     int64 `json:"input_bytes"` // scripts, args, items, names and labels
	MaxInputBytes  int64 `json:"max_input_bytes"`
	ResultBytes    int64 `json:"result_bytes"` // results and error texts of parts
	MaxResultBytes int64 `json:"max_result_bytes"`
}

// DiskSpace is what is left of the volume of a coordinator's data directory.
type DiskSpace struct {
	Free uint64 `json:"free_bytes"` // that the coordinator may write
	Size uint64 `json:"size_bytes"`
	Low  bool   `json:"low"` // so little that an operator should do something: any state but ok
	// State is DiskOK, DiskLow, DiskFull or DiskCritical; "" from a coordinator of an older version.
	State string `json:"state,omitempty"`
}

// The states of a volume, each with less space than the one before.
const (
	DiskOK       = "ok"
	DiskLow      = "low"      // an operator should do something
	DiskFull     = "full"     // the cluster is not led from here if another voter has room, and what makes the state grow is refused while it is
	DiskCritical = "critical" // the coordinator ends
)

// IsFull reports whether nothing more should be put on the volume; false while the space is not known (nil).
func (d *DiskSpace) IsFull() bool {
	return d != nil && (d.State == DiskFull || d.State == DiskCritical)
}

// SlowConsumers are the connections that a coordinator has cut off since its
// start, because they took too long to read what was written to them.
type SlowConsumers struct {
	Doors map[string]uint64 `json:"doors"` // how many, by door: native, leco
	// The last of the native ones: full name of its session (empty if it had
	// none), its address, when.
	Last   string     `json:"last,omitempty"`
	Remote string     `json:"last_remote,omitempty"`
	LastAt *time.Time `json:"last_at,omitempty"`
}

// Digest is the answer of GET /v1/digest.
type Digest struct {
	Index  uint64 `json:"index"`
	Digest string `json:"digest"`
}

// Level is the answer of GET /v1/level: what commands the cluster offers, and what
// its members know.
type Level struct {
	Level   int           `json:"level"`
	Known   int           `json:"known"` // the highest that all members know: it can be raised to that
	Members []MemberLevel `json:"members"`
}

// MemberLevel is the highest level that one member's binary knows.
type MemberLevel struct {
	ID       string `json:"id"`
	ServerID string `json:"server_id"`
	Level    int    `json:"level"` // 0: it has not said yet
	Version  string `json:"version,omitempty"`
}

// RaiseLevel is the body of POST /v1/level.
type RaiseLevel struct {
	Level *int `json:"level,omitempty"` // default: the highest that the coordinator asked knows
}

// RaisedLevel is the answer of POST /v1/level: the level before and after.
type RaisedLevel struct {
	Before int    `json:"before"`
	Level  int    `json:"level"`
	Index  uint64 `json:"index"`
}

// Beat answers a heartbeat: the lease runs anew from now.
type Beat struct {
	FullName string   `json:"full_name"`
	Session  string   `json:"session"`
	Home     string   `json:"home"`
	Lease    Duration `json:"lease"`
}

// Problem is RFC 9457's application/problem+json with our code.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      Code   `json:"code"`
	Field     string `json:"field,omitempty"`
	RequestID string `json:"request_id"`
	Needs     string `json:"needs,omitempty"` // with forbidden: the grant that it needs
	Token     string `json:"token,omitempty"` // with needs: the id of the token that lacks it
}
