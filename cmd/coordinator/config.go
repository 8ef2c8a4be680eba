package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/cmd/settings"
	"github.com/folkmoot/folkmoot/cmd/version"
	"github.com/folkmoot/folkmoot/node"
)

// clientEnv are FOLKMOOT_ variables that belong to the clients' programs.
var clientEnv = []string{
	"FOLKMOOT_ADDR", "FOLKMOOT_TOKEN", "FOLKMOOT_CACERT", "FOLKMOOT_CLIENT_CERT", "FOLKMOOT_CLIENT_KEY", "FOLKMOOT_CONTEXT",
	"FOLKMOOT_OUTPUT", "FOLKMOOT_TIMEOUT", "FOLKMOOT_JOB", "FOLKMOOT_PART", "FOLKMOOT_ATTEMPT", "FOLKMOOT_RUNTIMES", "FOLKMOOT_NAME",
	"FOLKMOOT_LABELS", "FOLKMOOT_HOST", "FOLKMOOT_GROUP",
}

// serveSettings are the settings of a coordinator.
type serveSettings struct {
	*settings.Set
	node node.Config
	// The positive of two settings of node, which switch something off.
	fastElection, injectCommits bool
	log                         settings.Logging
}

// newServeSettings declares every setting of a coordinator. The names are
// fixed: tools outside the project depend on them.
func newServeSettings() *serveSettings {
	s := &serveSettings{Set: settings.New("config", settings.ReadFile)}
	s.DeclareFile("YAML file with any of these settings")
	s.declareCoordinator()
	s.declareDoors()
	s.declareRaft()
	s.log.Declare(s.FlagSet, "info")
	return s
}

func (s *serveSettings) declareCoordinator() {
	c := &s.node
	s.StringVar(&c.ID, "id", "", "stable name of this coordinator (default: the host name)")
	s.StringVar(&c.Namespace, "namespace", "", "namespace it presides over (default: the id)")
	s.StringVar(&c.DataDir, "data-dir", "./data", "everything it keeps")
	s.StringVar(&c.AuditDir, "audit-dir", defaultAuditDir, "where it is recorded who asked for what; DATA is --data-dir, and an empty one records nothing")
	s.StringSliceVar(&c.Join, "join", nil, "addresses or a name of other coordinators, tried in turn for ever; may contain itself")
	s.IntVar(&c.Expect, "bootstrap-expect", 0, "found a cluster when this many empty coordinators have met (default: 1 without --join)")
	s.StringVar(&c.Topology, "topology", "mesh", "which coordinators keep links: mesh, ring, tree, grid or file:PATH; the same at all")
	s.BoolVar(&c.NonVoter, "non-voter", false, "replicate and route, never vote")
	s.BoolVar(&c.Worker, "worker", false, "run job parts in this process's care")
	s.IntVar(&c.Slots, "slots", 0, "parts at once of that worker (default: one for each processor)")
	settings.BytesVar(s.FlagSet, &c.JobResultBytes, "job-result-bytes", "16MiB", "results of one job together, with the error texts of its parts: a part beyond it fails as result_quota")
	settings.BytesVar(s.FlagSet, &c.ResultBytes, "result-bytes", "256MiB", "the same for all jobs that are kept; the same at all coordinators, which hold them in memory")
	settings.BytesVar(s.FlagSet, &c.RestoreBytes, "restore-bytes", "512MiB", "a snapshot that is restored, uncompressed, but not above a quarter of the memory; every coordinator holds it beside the state; the same at all")
	c.Drain = autoDrain
	s.Var((*drainValue)(&c.Drain), "drain", "how long requests are still served at the end, while /readyz says no already; auto: 5s, or 0s while every port is on loopback")
	s.StringVar(&c.WhenRemoved, "when-removed", node.WhenRemovedExit, "what follows from a removal from the cluster: exit (status 5), or rejoin: stay, and join as new at the next start")
	s.StringVar(&c.RecoverPeers, "recover-peers", "", "n1=HOST:PORT,...: the cluster goes on with these alone, because the others are lost for good; see docs/operations.md")
	s.StringVar(&c.RecoverWord, "recover-once", "", "any word: --recover-peers is carried out once for each, at the start, by whoever has a disk of before")
	s.StringVar(&c.BackupDir, "backup-dir", "", "where the leader keeps snapshots of the state; the same at all coordinators, each of which may lead (default: none)")
	s.DurationVar(&c.BackupInterval, "backup-interval", time.Hour, "how often it makes one")
	s.IntVar(&c.BackupKeep, "backup-keep", 48, "how many of the newest stay there")
	c.DiskReserve = node.DefaultDiskReserve
	s.spaceBound(&c.DiskLow, "disk-low", "15%", "8 GiB", "warns")
	s.spaceBound(&c.DiskFull, "disk-full", "8%", "4 GiB", "leaves leadership to others with space, or refuses what makes the state grow")
	s.spaceBound(&c.DiskCritical, "disk-critical", "4%", "1 GiB", "ends with status 6")
	s.DurationVar(&c.Grace, "grace", 0, "how long the sessions of a lost coordinator wait before they expire, if their own leases are not longer (default 10s)")
}

// spaceBound declares below how much free space a coordinator does something.
func (s *serveSettings) spaceBound(to *node.SpaceBound, name, value, most, does string) {
	v := &spaceValue{to: to}
	if err := v.Set(value); err != nil {
		panic(name + ": " + err.Error())
	}
	s.Var(v, name, fmt.Sprintf("below so much free space on the volume of --data-dir, a percentage of its size (at most %s) or bytes, it %s", most, does))
}

// spaceValue is a node.SpaceBound as a flag.
type spaceValue struct {
	to   *node.SpaceBound
	text string
}

// String implements pflag.Value.
func (v *spaceValue) String() string { return v.text }

// Type implements pflag.Value.
func (v *spaceValue) Type() string { return "string" }

// Set implements pflag.Value.
func (v *spaceValue) Set(text string) error {
	bound, isPercent, err := node.ParseSpacePercent(text)
	if !isPercent {
		if bound.Bytes, err = settings.ParseBytes(text); err != nil {
			err = fmt.Errorf("a percentage such as 15%%, or bytes: %w", err)
		}
	}
	if err != nil {
		return err
	}
	v.text, *v.to = text, bound
	return nil
}

// drainValue is a node.Config.Drain as a flag.
type drainValue time.Duration

// autoDrain leaves it to the node.
const autoDrain = -1

// String implements pflag.Value.
func (v *drainValue) String() string {
	if *v < 0 {
		return "auto"
	}
	return time.Duration(*v).String()
}

// Type implements pflag.Value.
func (v *drainValue) Type() string { return "duration" }

// Set implements pflag.Value.
func (v *drainValue) Set(text string) error {
	if text == "auto" {
		*v = autoDrain
		return nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("a time that is not negative, or auto")
	}
	*v = drainValue(d)
	return err
}

func (s *serveSettings) declareDoors() {
	c := &s.node
	s.StringVar(&c.HTTPAddr, "http-addr", "127.0.0.1:7380", "REST and streams")
	s.StringSliceVar(&c.HTTPHosts, "http-hosts", nil, "further names REST is called by, while it is on loopback without tokens; * is any (elsewhere every name passes)")
	s.StringVar(&c.PeerAddr, "peer-addr", "127.0.0.1:7300", "the one port between coordinators")
	s.StringVar(&c.Advertise, "advertise", "", "name others dial (default: the peer address)")
	s.StringVar(&c.ComponentAddr, "component-addr", "127.0.0.1:7370", "native sessions")
	s.StringVar(&c.OpsAddr, "ops-addr", "127.0.0.1:7390", "health, metrics, pprof; off loopback without pprof")
	s.StringVar(&c.LECOAddr, "leco-addr", "", "ZMTP door for LECO components, 127.0.0.1:12300 by custom (default: none)")
	s.StringSliceVar(&c.LECOPeers, "leco-peers", nil, "foreign LECO coordinators host:port to link to, for ever")
	s.StringVar(&c.LECODataAddr, "leco-data-addr", "", "LECO's data channel: publishers here, 127.0.0.1:11100 by custom, subscribers at the port below (default: none)")
	s.StringVar(&c.LECOLogAddr, "leco-log-addr", "", "LECO's log channel: publishers here, 127.0.0.1:11098 by custom, subscribers at the port below (default: none)")
	s.BoolVar(&c.LECOShutDown, "leco-shut-down", false, "LECO's shut_down stops this coordinator also when --leco-addr is not on loopback")
	s.BoolVar(&c.Insecure, "insecure", false, "allow addresses off loopback without TLS and tokens")
	s.StringVar(&c.TokenFile, "token-file", "", "bearer tokens that may do everything here, one a line (or sha256:HEX); read again when it changes")
	s.StringSliceVar(&c.OpenDoors, "open-doors", nil, "doors without a lock that other machines may reach: leco")
	s.StringVar(&c.TLSDir, "tls-dir", "", "ca.pem, cert.pem and key.pem for the peer port, REST and native sessions; with ca-key.pem in it this coordinator signs certificates")
	s.StringSliceVar(&c.TLSHosts, "tls-hosts", nil, "further names and addresses in certificates that this coordinator makes for itself")
	s.StringVar(&c.PeerCA, "peer-ca", "", "CA of the coordinators: mutual TLS on the peer port (before --tls-dir)")
	s.StringVar(&c.PeerCert, "peer-cert", "", "certificate of this coordinator")
	s.StringVar(&c.PeerKey, "peer-key", "", "its key")
	s.StringVar(&c.HTTPCert, "http-cert", "", "certificate for REST and native sessions (before --tls-dir)")
	s.StringVar(&c.HTTPKey, "http-key", "", "its key")
	s.StringVar(&c.HTTPClientCA, "http-client-ca", "", "authorities of a certificate that whoever calls REST or native sessions must show as well; it is never a name")
}

func (s *serveSettings) declareRaft() {
	c := &s.node
	s.StringVar(&c.LogStore, "log-store", "bolt", "bolt or wal; fixed once the data directory exists")
	s.DurationVar(&c.HeartbeatTimeout, "heartbeat-timeout", 0, "Raft: a follower without a heartbeat for this long asks for votes (default: measured, see docs/performance.md)")
	s.DurationVar(&c.ElectionTimeout, "election-timeout", 0, "Raft: a candidate without a majority for this long tries again")
	s.BoolVar(&s.fastElection, "fast-election", true, "Raft: replace a leader whose process has ended without waiting for the heartbeat timeout; false: as plain hashicorp/raft")
	s.BoolVar(&s.injectCommits, "inject-commits", true, "Raft: a follower commits what the leader's answer reports, without waiting for its next message; false: as plain hashicorp/raft")
	s.Uint64Var(&c.SnapshotThreshold, "snapshot-threshold", 0, "Raft: entries between snapshots")
	s.DurationVar(&c.SnapshotInterval, "snapshot-interval", 0, "Raft: how often the threshold is looked at")
	s.Uint64Var(&c.TrailingLogs, "trailing-logs", 0, "Raft: entries kept behind a snapshot")
}

// defaultAuditDir stands for a directory in the data directory, wherever that is.
const defaultAuditDir = "DATA/audit"

// auditDir is the directory that a setting stands for; "" is none.
func auditDir(setting, dataDir string) string {
	if below, ok := strings.CutPrefix(setting, "DATA/"); ok {
		return filepath.Join(dataDir, below)
	}
	return setting
}

// recentLogBytes is how much of the log is kept in memory for raftctl debug.
const recentLogBytes = 512 << 10

// config loads the settings and returns the node's configuration. It logs a
// warning of each variable of environ that nobody uses.
func (s *serveSettings) config(environ []string) (node.Config, error) {
	if err := s.Load(environ); err != nil {
		return node.Config{}, err
	}
	c := s.node
	c.DisableFastElection, c.DisableCommitInjection = !s.fastElection, !s.injectCommits
	c.Join, c.HTTPHosts, c.LECOPeers = settings.Trimmed(c.Join), settings.Trimmed(c.HTTPHosts), settings.Trimmed(c.LECOPeers)
	c.TLSHosts = settings.Trimmed(c.TLSHosts)
	c.AuditDir = auditDir(c.AuditDir, c.DataDir)
	c.Version = version.Short()
	var err error
	recent := settings.NewRecentLog(recentLogBytes)
	if c.Logger, c.LogLevel, err = s.log.Open(os.Stderr, recent); err != nil {
		return node.Config{}, err
	}
	c.RecentLog = recent.Lines
	for _, r := range s.Rows() {
		c.Settings = append(c.Settings, node.Setting(r))
	}
	for _, variable := range s.Unknown(environ, clientEnv) {
		c.Logger.Warn(variable + " is set but no setting has that name")
	}
	return c, nil
}
