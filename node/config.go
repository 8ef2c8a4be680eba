package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
)

// Config has all settings of one coordinator. The zero value with a
// DataDir is a cluster of one on loopback with free ports.
type Config struct {
	ID        string // stable name; default the host's
	Namespace string // the namespace it owns; default the id
	DataDir   string // of all its files; made with mode 0700, refused if it is not empty and open to others

	HTTPAddr string // REST and streams
	// HTTPHosts are further names by which REST is called while it is on
	// loopback and asks for no token; "*" is any. Elsewhere every name passes.
	HTTPHosts []string
	PeerAddr  string // raft, links and calls
	Advertise string // the name others dial; default the bound peer address
	OpsAddr   string // health and metrics
	// ComponentAddr is that of native sessions.
	ComponentAddr string

	LECOAddr     string   // ZMTP door for LECO; "" has none
	LECOPeers    []string // foreign LECO coordinators to keep links to, host[:port]
	LECODataAddr string   // publishers of LECO's data channel; subscribers at the port below
	LECOLogAddr  string   // the same for its log channel
	LECOShutDown bool     // LECO components may stop this coordinator even from other machines

	// JobResultBytes bounds the results of one job, ResultBytes those of all jobs;
	// 0 is control's default.
	JobResultBytes, ResultBytes int64
	// RestoreBytes bounds a snapshot that is restored, uncompressed; 0 is control's
	// default. It is never above a quarter of the memory that this process is granted.
	RestoreBytes int64

	Join      []string // addresses or names of coordinators, tried in turn without end
	Expect    int      // found a cluster when this many empty coordinators have met; 0: 1 without Join
	NonVoter  bool     // replicate and route, never vote
	Worker    bool     // run a worker for job parts in this process
	Slots     int      // parts at once of that worker; default one for each processor
	Insecure  bool     // allow addresses off loopback without TLS and tokens
	TokenFile string   // bearer tokens that may do everything here, one a line (or sha256:HEX); read again when it changes
	// OpenDoors names the doors whose protocol has no tokens (leco) and that other
	// machines may reach all the same.
	OpenDoors []string

	// AuditDir is where it is recorded who asked for what; "": nowhere.
	AuditDir string

	PeerCA, PeerCert, PeerKey string // mutual TLS on the peer port
	HTTPCert, HTTPKey         string // TLS on REST and native sessions

	// TLSDir holds ca.pem, cert.pem and key.pem for all three ports, where the single files above are not given. With
	// ca-key.pem in it this coordinator signs certificates, its own too.
	TLSDir       string
	TLSHosts     []string // further names and addresses in certificates that it makes or asks for
	HTTPClientCA string   // authorities of a certificate that whoever calls REST or native sessions must show

	// Topology says which coordinators have links: mesh (default), ring, tree,
	// grid, or file:PATH with a line "n1: n2 n3" for each. The same at all.
	Topology string

	LogStore         string        // bolt or wal; fixed once the data directory exists
	HeartbeatTimeout time.Duration // 0: raftnode's default; so below
	ElectionTimeout  time.Duration
	// DisableFastElection and DisableCommitInjection leave the end of a leader's
	// process, and what a leader has committed, to Raft's own timers.
	DisableFastElection    bool
	DisableCommitInjection bool
	SnapshotInterval       time.Duration
	SnapshotThreshold      uint64
	TrailingLogs           uint64

	// Drain is how long requests are still served, at the end of Run's context, while
	// readiness says no already. Negative: 5 s, or none while every port is on
	// loopback; 0: none.
	Drain time.Duration
	// WhenRemoved is what follows from a removal from the cluster: WhenRemovedExit (""),
	// or WhenRemovedRejoin.
	WhenRemoved string

	// RecoverPeers makes the cluster one of the coordinators in it alone, ID=HOST:PORT
	// separated by commas, once for each RecoverWord, because the others are lost for good:
	// as raftnode.Recover does, before the data directory is opened. A coordinator that is
	// not in it joins them with an empty directory, and founds no cluster.
	RecoverPeers string
	RecoverWord  string

	// BackupDir is where this coordinator keeps snapshots of the state while it leads, one
	// every BackupInterval (default 1 h), of which the newest BackupKeep stay (default 48);
	// "" is nowhere.
	BackupDir      string
	BackupInterval time.Duration
	BackupKeep     int

	// DiskLow, DiskFull and DiskCritical are below how much free space the volume of DataDir is in that state (see
	// wire.DiskSpace): 15 %, 8 % and 4 %, of which at most 8, 4 and 1 GiB count.
	DiskLow, DiskFull, DiskCritical SpaceBound
	// DiskReserve is how many bytes, at most a tenth of the volume, are kept in DataDir while there is space, and given
	// free when the volume is full; 0: none.
	DiskReserve int64

	Grace time.Duration // how long a lost coordinator's sessions wait before they expire, if their own leases are not longer; default 10 s

	Logger *slog.Logger // default slog.Default
	// LogLevel is that of Logger, for LECO's set_log_level; nil: it is fixed.
	LogLevel *slog.LevelVar
	Version  string // of this build
	// Settings are those that the process was started with, and RecentLog returns the last
	// lines that Logger has written: both for whoever may ask for all that there is to find a
	// fault. No secret may be in them. Nil: not known.
	Settings  []Setting
	RecentLog func() []byte
	// Fatal ends the process after a storage error, or when a newer process runs
	// as this coordinator; default logs and exits with FatalStatus. It must not
	// return normally in production.
	Fatal func(error)
}

// The exit statuses of a process whose node must end.
const (
	StatusStorage    = 3 // the storage failed, or the log is not understood
	StatusSuperseded = 4 // a newer process runs as this coordinator, on a copy of its data directory
	StatusRemoved    = 5 // this coordinator was removed from the cluster
	StatusDisk       = 6 // the volume of the data directory has hardly any space left
)

// What Config.WhenRemoved may be.
const (
	WhenRemovedExit   = "exit"   // Run ends with a *RemovedError, and so does every later Open
	WhenRemovedRejoin = "rejoin" // the node stays, not ready; the next Open sets its data aside and joins as a new server
)

// FatalStatus is the exit status for an error that Config.Fatal is called with, or
// that Open or Run returns because this coordinator must not run.
func FatalStatus(err error) int {
	var superseded *raftnode.SupersededError
	var removed *RemovedError
	switch {
	case errors.As(err, &superseded):
		return StatusSuperseded
	case errors.As(err, &removed):
		return StatusRemoved
	case isDiskCritical(err):
		return StatusDisk
	}
	return StatusStorage
}

// ConfigError is a setting that cannot work; its text names the flag.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ConfigError) Unwrap() error { return e.Err }

// defaultGrace is that of Config.Grace, defaultDrain that of Config.Drain off loopback.
const (
	defaultGrace = 10 * time.Second
	defaultDrain = 5 * time.Second

	defaultBackupInterval = time.Hour
	defaultBackupKeep     = 48
)

// allOnLoopback reports whether no port of this coordinator is reached from other
// machines: then no balancer has to learn of its end.
func (c Config) allOnLoopback() bool {
	for _, a := range []string{c.HTTPAddr, c.PeerAddr, c.OpsAddr, c.ComponentAddr, c.LECOAddr, c.LECODataAddr, c.LECOLogAddr} {
		if a != "" && !isLoopback(a) {
			return false
		}
	}
	return true
}

// withDefaults returns c with every empty field filled in.
func (c Config) withDefaults() (Config, error) {
	if c.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("host name (give --id): %w", err)
		}
		c.ID, _, _ = strings.Cut(host, ".")
	}
	const freePort = "127.0.0.1:0"
	c.Namespace = cmp.Or(c.Namespace, c.ID)
	c.DataDir = cmp.Or(c.DataDir, "./data")
	c.HTTPAddr = cmp.Or(c.HTTPAddr, freePort)
	c.PeerAddr = cmp.Or(c.PeerAddr, freePort)
	c.OpsAddr = cmp.Or(c.OpsAddr, freePort)
	c.ComponentAddr = cmp.Or(c.ComponentAddr, freePort)
	c.LogStore = cmp.Or(c.LogStore, "bolt")
	c.Topology = cmp.Or(c.Topology, "mesh")
	c.Version = cmp.Or(c.Version, "dev")
	c.Grace = cmp.Or(c.Grace, defaultGrace)
	c.BackupInterval = cmp.Or(c.BackupInterval, defaultBackupInterval)
	c.BackupKeep = cmp.Or(c.BackupKeep, defaultBackupKeep)
	c.WhenRemoved = cmp.Or(c.WhenRemoved, WhenRemovedExit)
	c.DiskLow, c.DiskFull, c.DiskCritical = cmp.Or(c.DiskLow, defaultLow), cmp.Or(c.DiskFull, defaultFull), cmp.Or(c.DiskCritical, defaultCritical)
	if c.Drain < 0 {
		if c.Drain = 0; !c.allOnLoopback() {
			c.Drain = defaultDrain
		}
	}
	if c.Expect == 0 && len(c.Join) == 0 {
		c.Expect = 1
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Fatal == nil {
		c.Fatal = exitOnFatal(c.Logger)
	}
	return c, nil
}

// exitOnFatal returns the default of Config.Fatal: it logs the error and ends the
// process.
func exitOnFatal(log *slog.Logger) func(error) {
	return func(err error) {
		status := FatalStatus(err)
		if status == StatusSuperseded {
			log.Error("stopping at once: another process runs as this coordinator", "err", err)
		} else {
			log.Error("stopping at once: the state on disk can no longer be trusted to be written", "err", err)
		}
		os.Exit(status)
	}
}
