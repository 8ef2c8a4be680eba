package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/router/topology"
	"github.com/folkmoot/folkmoot/wire"
)

// Config is everything one coordinator is told. The zero value with a
// DataDir is a cluster of one on loopback with free ports.
type Config struct {
	ID        string // stable name; default the host's
	Namespace string // the namespace it presides over; default the id
	DataDir   string // everything it keeps; made with mode 0700, refused if it holds something and is open to others

	HTTPAddr string // REST and streams
	// HTTPHosts are further names by which REST is called while it is on
	// loopback and asks for no token; "*" is any. Elsewhere every name passes.
	HTTPHosts []string
	PeerAddr  string // raft, links and calls
	Advertise string // the name others dial; default the bound peer address
	OpsAddr   string // health and metrics
	// ComponentAddr is where native sessions come in.
	ComponentAddr string

	LECOAddr     string   // ZMTP door for LECO; "" has none
	LECOPeers    []string // foreign LECO coordinators to link to for ever, host[:port]
	LECODataAddr string   // publishers of LECO's data channel; subscribers at the port below
	LECOLogAddr  string   // the same for its log channel
	LECOShutDown bool     // LECO components may stop this coordinator even from other machines

	// JobResultBytes bounds the results of one job, ResultBytes those of all jobs;
	// 0 is control's default.
	JobResultBytes, ResultBytes int64

	Join      []string // addresses or names of coordinators, tried in turn for ever
	Expect    int      // found a cluster when this many empty coordinators have met; 0: 1 without Join
	NonVoter  bool     // replicate and route, never vote
	Worker    bool     // run job parts in this process's care
	Slots     int      // parts at once of that worker; default one for each processor
	Insecure  bool     // allow addresses off loopback without TLS and tokens
	TokenFile string   // bearer tokens for REST, one a line

	PeerCA, PeerCert, PeerKey string // mutual TLS on the peer port
	HTTPCert, HTTPKey         string // TLS on REST

	// Topology says which coordinators have links: mesh (default), ring, tree,
	// grid, or file:PATH with a line "n1: n2 n3" for each. The same at all.
	Topology string

	LogStore          string        // bolt or wal; fixed once the data directory exists
	HeartbeatTimeout  time.Duration // 0: raftnode's default; so below
	ElectionTimeout   time.Duration
	SnapshotInterval  time.Duration
	SnapshotThreshold uint64
	TrailingLogs      uint64

	Grace time.Duration // how long a lost coordinator's sessions wait before they expire, if their own leases are not longer; default 10 s

	Logger *slog.Logger // default slog.Default
	// LogLevel is that of Logger, for LECO's set_log_level; nil: it is fixed.
	LogLevel *slog.LevelVar
	Version  string // of this build
	// Fatal ends the process after a storage error, or when a newer process runs
	// as this coordinator; default logs and exits with FatalStatus. It must not
	// return normally in production.
	Fatal func(error)
}

// The exit statuses of a process whose node cannot go on.
const (
	StatusStorage    = 3 // the storage failed, or the log is not understood
	StatusSuperseded = 4 // a newer process runs as this coordinator, on a copy of its data directory
)

// FatalStatus is the exit status for an error that Config.Fatal is told of, or
// that Open returns because a newer process runs as this coordinator.
func FatalStatus(err error) int {
	var superseded *raftnode.SupersededError
	if errors.As(err, &superseded) {
		return StatusSuperseded
	}
	return StatusStorage
}

// ConfigError is a setting that cannot work; its text names the flag.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ConfigError) Unwrap() error { return e.Err }

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// validHost takes names of hosts, loosely: only what no Host header can be is
// refused.
var validHost = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$`)

// withDefaults returns c with every empty field filled in.
func (c Config) withDefaults() (Config, error) {
	if c.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("host name (give --id): %w", err)
		}
		c.ID, _, _ = strings.Cut(host, ".")
	}
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.Namespace, c.ID)
	def(&c.DataDir, "./data")
	def(&c.HTTPAddr, "127.0.0.1:0")
	def(&c.PeerAddr, "127.0.0.1:0")
	def(&c.OpsAddr, "127.0.0.1:0")
	def(&c.ComponentAddr, "127.0.0.1:0")
	def(&c.LogStore, "bolt")
	def(&c.Topology, "mesh")
	def(&c.Version, "dev")
	if c.Expect == 0 && len(c.Join) == 0 {
		c.Expect = 1
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Fatal == nil {
		log := c.Logger
		c.Fatal = func(err error) {
			status := FatalStatus(err)
			if status == StatusSuperseded {
				log.Error("stopping at once: another process runs as this coordinator", "err", err)
			} else {
				log.Error("stopping at once: the state on disk can no longer be trusted to be written", "err", err)
			}
			os.Exit(status)
		}
	}
	return c, nil
}

// Validate reports the first setting that cannot work, by its flag's name.
func (c Config) Validate() error {
	if !validID.MatchString(c.ID) {
		return fmt.Errorf("--id %q: letters, digits, - and _, at most 63, starting with a letter or digit", c.ID)
	}
	if !validID.MatchString(c.Namespace) {
		return fmt.Errorf("--namespace %q: letters, digits, - and _, at most 63, starting with a letter or digit", c.Namespace)
	}
	for _, reserved := range []struct{ flag, name string }{{"--id", c.ID}, {"--namespace", c.Namespace}} {
		if strings.EqualFold(reserved.name, wire.Coordinator) {
			return fmt.Errorf("%s %q: every coordinator is called that in its namespace", reserved.flag, reserved.name)
		}
	}
	if c.LogStore != "bolt" && c.LogStore != "wal" {
		return fmt.Errorf("--log-store %q: bolt or wal", c.LogStore)
	}
	if _, err := c.topology(); err != nil {
		return err
	}
	if c.Expect < 0 || c.Expect > 99 {
		return fmt.Errorf("--bootstrap-expect %d: 1 to 99", c.Expect)
	}
	if c.Expect > 1 && len(c.Join) == 0 {
		return fmt.Errorf("--bootstrap-expect %d needs --join with the addresses of the others", c.Expect)
	}
	if c.Slots < 0 || c.Slots > 1024 {
		return fmt.Errorf("--slots %d: 0 to 1024", c.Slots)
	}
	for flag, d := range map[string]time.Duration{
		"heartbeat-timeout": c.HeartbeatTimeout, "election-timeout": c.ElectionTimeout,
		"snapshot-interval": c.SnapshotInterval, "grace": c.Grace,
	} {
		if d != 0 && (d < 10*time.Millisecond || d > time.Hour) {
			return fmt.Errorf("--%s %s: 10ms to 1h", flag, d)
		}
	}
	if err := together("--peer-ca, --peer-cert and --peer-key", c.PeerCA, c.PeerCert, c.PeerKey); err != nil {
		return err
	}
	if err := together("--http-cert and --http-key", c.HTTPCert, c.HTTPKey); err != nil {
		return err
	}
	for _, h := range c.HTTPHosts {
		if h != "*" && !validHost.MatchString(h) {
			return fmt.Errorf("--http-hosts %q: names without a port, or * for any", h)
		}
	}
	for _, a := range []struct{ flag, addr string }{
		{"--http-addr", c.HTTPAddr}, {"--peer-addr", c.PeerAddr}, {"--ops-addr", c.OpsAddr}, {"--component-addr", c.ComponentAddr},
	} {
		if err := checkAddr(a.flag, a.addr, true); err != nil {
			return err
		}
	}
	for _, a := range []struct{ flag, addr string }{
		{"--leco-addr", c.LECOAddr}, {"--leco-data-addr", c.LECODataAddr}, {"--leco-log-addr", c.LECOLogAddr},
	} {
		if a.addr == "" {
			continue
		}
		if err := checkAddr(a.flag, a.addr, true); err != nil {
			return err
		}
	}
	if len(c.LECOPeers) > 0 && c.LECOAddr == "" {
		return errors.New("--leco-peers needs --leco-addr: they link back")
	}
	if c.Advertise != "" {
		if err := checkAddr("--advertise", c.Advertise, false); err != nil {
			return err
		}
		if host, _, _ := net.SplitHostPort(c.Advertise); host == "" || host == "0.0.0.0" || host == "::" {
			return fmt.Errorf("--advertise %q: others cannot dial that; give a name or an address", c.Advertise)
		}
	} else if host, _, _ := net.SplitHostPort(c.PeerAddr); host == "" || host == "0.0.0.0" || host == "::" {
		return fmt.Errorf("--peer-addr %q listens everywhere: say with --advertise which name others dial", c.PeerAddr)
	}
	return c.checkSecurity()
}

// topology reads the setting, and its file.
func (c Config) topology() (topology.Policy, error) {
	p, err := topology.Parse(c.Topology, os.ReadFile)
	switch {
	case err != nil:
		return p, fmt.Errorf("--topology: %w", err)
	case !p.Knows(c.ID):
		return p, fmt.Errorf("--topology %s has no line for this coordinator, %s", c.Topology, c.ID)
	}
	return p, nil
}

// checkSecurity refuses to open a door to other machines without locks on it.
func (c Config) checkSecurity() error {
	if c.Insecure {
		return nil
	}
	if !isLoopback(c.PeerAddr) && c.PeerCA == "" {
		return fmt.Errorf("--peer-addr %s is reachable from other machines: give --peer-ca, --peer-cert and --peer-key, or --insecure", c.PeerAddr)
	}
	if !isLoopback(c.HTTPAddr) && (c.HTTPCert == "" || c.TokenFile == "") {
		return fmt.Errorf("--http-addr %s is reachable from other machines: give --http-cert, --http-key and --token-file, or --insecure", c.HTTPAddr)
	}
	for _, a := range []struct{ flag, addr string }{
		{"--leco-addr", c.LECOAddr}, {"--leco-data-addr", c.LECODataAddr}, {"--leco-log-addr", c.LECOLogAddr},
	} {
		if a.addr != "" && !isLoopback(a.addr) {
			return fmt.Errorf("%s %s is reachable from other machines and LECO has no lock: keep it on loopback, or give --insecure", a.flag, a.addr)
		}
	}
	if !isLoopback(c.ComponentAddr) && (c.HTTPCert == "" || c.TokenFile == "") {
		return fmt.Errorf("--component-addr %s is reachable from other machines: give --http-cert, --http-key and --token-file, or --insecure", c.ComponentAddr)
	}
	if !isLoopback(c.OpsAddr) {
		return fmt.Errorf("--ops-addr %s is reachable from other machines and has no lock: keep it on loopback, or give --insecure", c.OpsAddr)
	}
	return nil
}

// insecureReason says what stands open because of --insecure, if anything.
func (c Config) insecureReason() string {
	secure := c
	secure.Insecure = false
	if err := secure.checkSecurity(); err != nil {
		return err.Error()
	}
	return ""
}

func together(what string, files ...string) error {
	n := 0
	for _, f := range files {
		if f != "" {
			n++
		}
	}
	if n != 0 && n != len(files) {
		return errors.New(what + " go together: give all or none")
	}
	return nil
}

func checkAddr(flag, addr string, zero bool) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %q: want host:port", flag, addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	first := uint64(1)
	if zero {
		first = 0 // a free one
	}
	if err != nil || n < first {
		return fmt.Errorf("%s %q: the port is a number from %d to 65535", flag, addr, first)
	}
	return nil
}
