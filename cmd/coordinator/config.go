package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/folkmoot/folkmoot/cmd/version"
	"github.com/folkmoot/folkmoot/node"
)

// clientEnv are FOLKMOOT_ variables that belong to the clients' programs.
var clientEnv = []string{
	"FOLKMOOT_ADDR", "FOLKMOOT_TOKEN", "FOLKMOOT_CACERT", "FOLKMOOT_CLIENT_CERT", "FOLKMOOT_CLIENT_KEY", "FOLKMOOT_CONTEXT",
	"FOLKMOOT_OUTPUT", "FOLKMOOT_TIMEOUT", "FOLKMOOT_JOB", "FOLKMOOT_PART", "FOLKMOOT_ATTEMPT", "FOLKMOOT_RUNTIMES", "FOLKMOOT_NAME",
	"FOLKMOOT_LABELS", "FOLKMOOT_HOST", "FOLKMOOT_GROUP",
}

// serveFlags declares every setting of a coordinator. The names are fixed:
// tools outside the project hold on to them.
func serveFlags(f *pflag.FlagSet) {
	f.String("config", "", "YAML file with any of these settings")
	f.String("id", "", "stable name of this coordinator (default: the host name)")
	f.String("namespace", "", "namespace it presides over (default: the id)")
	f.String("data-dir", "./data", "everything it keeps")
	f.String("http-addr", "127.0.0.1:7380", "REST and streams")
	f.StringSlice("http-hosts", nil, "further names REST is called by, while it is on loopback without tokens; * is any (elsewhere every name passes)")
	f.String("peer-addr", "127.0.0.1:7300", "the one port between coordinators")
	f.String("advertise", "", "name others dial (default: the peer address)")
	f.String("component-addr", "127.0.0.1:7370", "native sessions")
	f.String("ops-addr", "127.0.0.1:7390", "health, metrics, pprof")
	f.String("leco-addr", "", "ZMTP door for LECO components, 127.0.0.1:12300 by custom (default: none)")
	f.StringSlice("leco-peers", nil, "foreign LECO coordinators host:port to link to, for ever")
	f.String("leco-data-addr", "", "LECO's data channel: publishers here, 127.0.0.1:11100 by custom, subscribers at the port below (default: none)")
	f.String("leco-log-addr", "", "LECO's log channel: publishers here, 127.0.0.1:11098 by custom, subscribers at the port below (default: none)")
	f.Bool("leco-shut-down", false, "LECO's shut_down stops this coordinator also when --leco-addr is not on loopback")
	f.StringSlice("join", nil, "addresses or a name of other coordinators, tried in turn for ever; may contain itself")
	f.Int("bootstrap-expect", 0, "found a cluster when this many empty coordinators have met (default: 1 without --join)")
	f.String("topology", "mesh", "which coordinators keep links: mesh, ring, tree, grid or file:PATH; the same at all")
	f.Bool("non-voter", false, "replicate and route, never vote")
	f.Bool("worker", false, "run job parts in this process's care")
	f.Int("slots", 0, "parts at once of that worker (default: one for each processor)")
	f.String("job-result-bytes", "16MiB", "results of one job together, with the error texts of its parts: a part beyond it fails as result_quota")
	f.String("result-bytes", "256MiB", "the same for all jobs that are kept; the same at all coordinators, which hold them in memory")
	f.Bool("insecure", false, "allow addresses off loopback without TLS and tokens")
	f.String("token-file", "", "bearer tokens for REST, one a line")
	f.String("peer-ca", "", "CA of the coordinators: mutual TLS on the peer port")
	f.String("peer-cert", "", "certificate of this coordinator")
	f.String("peer-key", "", "its key")
	f.String("http-cert", "", "certificate for REST and native sessions")
	f.String("http-key", "", "its key")
	f.String("log-store", "bolt", "bolt or wal; fixed once the data directory exists")
	f.Duration("heartbeat-timeout", 0, "Raft: a follower without a heartbeat for this long asks for votes (default: measured, see docs/performance.md)")
	f.Duration("election-timeout", 0, "Raft: a candidate without a majority for this long tries again")
	f.Uint64("snapshot-threshold", 0, "Raft: entries between snapshots")
	f.Duration("snapshot-interval", 0, "Raft: how often the threshold is looked at")
	f.Uint64("trailing-logs", 0, "Raft: entries kept behind a snapshot")
	f.Duration("grace", 0, "how long the sessions of a lost coordinator wait before they expire, if their own leases are not longer (default 10s)")
	f.String("log-format", "", "text or json (default: text on a terminal, else json)")
	f.String("log-level", "info", "debug, info, warn or error")
}

// settings are the merged settings with where each came from.
type settings struct {
	*koanf.Koanf
	origin map[string]string
	warn   []string
}

// load merges defaults < file < environment < flags.
func load(cmd *cobra.Command, environ []string) (*settings, error) {
	flags := cmd.Flags()
	s := &settings{Koanf: koanf.New("\x00"), origin: map[string]string{}}
	known := map[string]*pflag.Flag{}
	defaults := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "config" {
			return
		}
		known[f.Name] = f
		defaults[f.Name] = value(flags, f, f.DefValue)
		s.origin[f.Name] = "default"
	})
	if err := s.Load(confmap.Provider(defaults, ""), nil); err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, "FOLKMOOT_") {
			env[k] = v
		}
	}
	path, _ := flags.GetString("config")
	if path == "" {
		path = env["FOLKMOOT_CONFIG"]
	}
	delete(env, "FOLKMOOT_CONFIG")
	if path != "" {
		k := koanf.New("\x00")
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return nil, fmt.Errorf("--config %s: %w", path, err)
		}
		for _, key := range k.Keys() {
			if known[key] == nil {
				return nil, fmt.Errorf("--config %s: unknown setting %q", path, strings.ReplaceAll(key, "\x00", "."))
			}
			s.origin[key] = "file " + path
		}
		if err := s.Merge(k); err != nil {
			return nil, fmt.Errorf("--config %s: %w", path, err)
		}
	}
	over := map[string]any{}
	for name, f := range known {
		envName := "FOLKMOOT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if v, ok := env[envName]; ok {
			if f.Value.Type() != "stringSlice" {
				probe := pflag.NewFlagSet("", pflag.ContinueOnError)
				serveFlags(probe)
				if p := probe.Lookup(name); p != nil {
					if err := p.Value.Set(v); err != nil {
						return nil, fmt.Errorf("%s=%q: %w", envName, v, err)
					}
				}
			}
			over[name] = value(flags, f, v)
			s.origin[name] = "environment " + envName
		}
		delete(env, envName)
		if f.Changed {
			over[name] = value(flags, f, "")
			s.origin[name] = "flag --" + name
		}
	}
	for k := range env {
		if !slices.Contains(clientEnv, k) && k != "FOLKMOOT_TOKEN_FILE" {
			s.warn = append(s.warn, k+" is set but no setting has that name")
		}
	}
	slices.Sort(s.warn)
	return s, s.Load(confmap.Provider(over, ""), nil)
}

// value returns a flag's own value, or text read as one of its kind.
func value(flags *pflag.FlagSet, f *pflag.Flag, text string) any {
	if f.Changed {
		if f.Value.Type() == "stringSlice" {
			v, _ := flags.GetStringSlice(f.Name)
			return v
		}
		return f.Value.String()
	}
	if f.Value.Type() == "stringSlice" {
		text = strings.Trim(text, "[]")
		if text == "" {
			return []string{}
		}
		return strings.Split(text, ",")
	}
	return text
}

// bytesOf reads a number of bytes: 65536, 64KiB, 16MiB or 1GiB.
func bytesOf(text string) (int64, error) {
	digits, shift := text, 0
	for unit, n := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = rest, n
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>shift {
		return 0, errors.New("a number of bytes is written like 65536, 64KiB or 16MiB, and is above 0")
	}
	return n << shift, nil
}

// nodeConfig turns settings into a node's configuration.
func (s *settings) nodeConfig() (node.Config, error) {
	c := node.Config{
		ID: s.String("id"), Namespace: s.String("namespace"), DataDir: s.String("data-dir"),
		HTTPAddr: s.String("http-addr"), ComponentAddr: s.String("component-addr"), PeerAddr: s.String("peer-addr"), Advertise: s.String("advertise"), OpsAddr: s.String("ops-addr"),
		Expect: s.Int("bootstrap-expect"), NonVoter: s.Bool("non-voter"), Worker: s.Bool("worker"), Slots: s.Int("slots"),
		Topology: s.String("topology"), Insecure: s.Bool("insecure"), TokenFile: s.String("token-file"),
		PeerCA: s.String("peer-ca"), PeerCert: s.String("peer-cert"), PeerKey: s.String("peer-key"),
		HTTPCert: s.String("http-cert"), HTTPKey: s.String("http-key"),
		LogStore:         s.String("log-store"),
		HeartbeatTimeout: s.Duration("heartbeat-timeout"), ElectionTimeout: s.Duration("election-timeout"),
		SnapshotInterval: s.Duration("snapshot-interval"),
		Grace:            s.Duration("grace"), Version: version.Short(),
	}
	for name, to := range map[string]*uint64{"snapshot-threshold": &c.SnapshotThreshold, "trailing-logs": &c.TrailingLogs} {
		if n := s.Int64(name); n < 0 {
			return c, fmt.Errorf("--%s %d: not below 0", name, n)
		} else {
			*to = uint64(n)
		}
	}
	for name, to := range map[string]*int64{"job-result-bytes": &c.JobResultBytes, "result-bytes": &c.ResultBytes} {
		n, err := bytesOf(s.String(name))
		if err != nil {
			return c, fmt.Errorf("--%s %q: %w", name, s.String(name), err)
		}
		*to = n
	}
	for _, name := range []string{"heartbeat-timeout", "election-timeout", "snapshot-interval", "grace"} {
		if text := s.String(name); text != "" && text != "0" {
			if _, err := time.ParseDuration(text); err != nil {
				return c, fmt.Errorf("--%s %q: a duration is written like 500ms", name, text)
			}
		}
	}
	for _, a := range s.Strings("join") {
		if a = strings.TrimSpace(a); a != "" {
			c.Join = append(c.Join, a)
		}
	}
	c.LECOAddr, c.LECODataAddr, c.LECOLogAddr = s.String("leco-addr"), s.String("leco-data-addr"), s.String("leco-log-addr")
	c.LECOShutDown = s.Bool("leco-shut-down")
	for _, h := range s.Strings("http-hosts") {
		if h = strings.TrimSpace(h); h != "" {
			c.HTTPHosts = append(c.HTTPHosts, h)
		}
	}
	for _, a := range s.Strings("leco-peers") {
		if a = strings.TrimSpace(a); a != "" {
			c.LECOPeers = append(c.LECOPeers, a)
		}
	}
	log, level, err := newLogger(os.Stderr, s.String("log-format"), s.String("log-level"))
	if err != nil {
		return c, err
	}
	c.Logger, c.LogLevel = log, level
	return c, nil
}
