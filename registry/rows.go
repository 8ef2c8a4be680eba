package registry

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Kinds of the commands, as the log knows them. Kinds are for ever.
const (
	KindAnnounce = "registry.announce"
	KindForget   = "registry.forget"
	KindSignIn   = "registry.sign_in"
	KindSignOut  = "registry.sign_out"
	KindExpire   = "registry.expire"
	KindRemove   = "registry.remove"
)

// Coordinator is one coordinator as the cluster knows it.
type Coordinator struct {
	ID            string    `json:"id"`
	ServerID      string    `json:"server_id"` // id/incarnation: an empty disk is a new server
	Namespace     string    `json:"namespace"` // the one it owns
	PeerAddr      string    `json:"peer_addr"`
	HTTPAddr      string    `json:"http_addr,omitempty"`
	ComponentAddr string    `json:"component_addr,omitempty"`
	LECOAddr      string    `json:"leco_addr,omitempty"` // where foreign LECO coordinators link to
	Version       string    `json:"version,omitempty"`
	Level         int       `json:"level"` // highest level its binary knows; 0 in Announce means 1
	NonVoter      bool      `json:"non_voter,omitempty"`
	Since         time.Time `json:"since"` // of this server; set by Announce
	Index         uint64    `json:"index"` // of its last change; set by Announce
}

// Session is one signed-in life of a component. Labels and Runtimes are shared
// with the table: read only.
type Session struct {
	FullName   string        `json:"full_name"`
	Name       string        `json:"name"`
	Namespace  string        `json:"namespace"`
	ID         string        `json:"id"`
	SecretHash string        `json:"secret_hash"`
	Home       string        `json:"home"` // id of the coordinator that holds its connection
	Kind       string        `json:"kind"` // rest, native, leco
	Epoch      uint64        `json:"epoch"`
	Labels     Labels        `json:"labels,omitempty"`
	Place      wire.Place    `json:"place,omitzero"`
	Lease      time.Duration `json:"lease"` // nanoseconds
	Runtimes   []string      `json:"runtimes,omitempty"`
	Slots      int           `json:"slots,omitempty"`
	Since      time.Time     `json:"since"`
	Index      uint64        `json:"index"` // of its last change
	// Attempt is the last numbered one of its sign-ins that was carried out.
	Attempt uint64 `json:"attempt,omitempty"`
	// Token is the token that the session belongs to, and ends with: the id of one
	// of the state (t_...), "file:" and the first 12 digits of the SHA-256 of one of
	// a coordinator's file, or "" if none was asked for.
	Token string `json:"token,omitempty"`
}

// Ended is what is remembered of a session that is gone.
type Ended struct {
	ID       string    `json:"id"`
	FullName string    `json:"full_name"`
	Home     string    `json:"home"`
	Kind     string    `json:"kind"` // signed_out, expired, removed
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	Index    uint64    `json:"index"`
	Attempt  uint64    `json:"attempt,omitempty"` // of the session
	Final    bool      `json:"final,omitempty"`   // no take-over brings it back
}
