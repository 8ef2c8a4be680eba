package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// validHost matches names of hosts, loosely: it refuses only what no Host header
// can be.
var validHost = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$`)

// Validate returns the first setting that cannot work, by its flag's name.
func (c Config) Validate() error {
	for _, check := range []func() error{
		c.checkNames, c.checkCluster, c.checkTimes, c.checkFiles, c.checkAuditDir, c.checkSpaceOrder, c.checkListeners, c.checkAdvertise, c.checkOpenDoors, c.checkSecurity,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkNames() error {
	names := []struct{ flag, name string }{{"--id", c.ID}, {"--namespace", c.Namespace}}
	for _, n := range names {
		if !authority.IsMemberID(n.name) {
			return fmt.Errorf("%s %q: %s", n.flag, n.name, authority.MemberIDRule)
		}
	}
	for _, n := range names {
		if strings.EqualFold(n.name, wire.Coordinator) {
			return fmt.Errorf("%s %q: every coordinator is called that in its namespace", n.flag, n.name)
		}
	}
	return nil
}

func (c Config) checkCluster() error {
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
	switch c.WhenRemoved {
	case "", WhenRemovedExit:
	case WhenRemovedRejoin:
		if len(c.Join) == 0 {
			return errors.New("--when-removed rejoin needs --join with addresses of the others: a coordinator joins through one of them")
		}
	default:
		return fmt.Errorf("--when-removed %q: exit or rejoin", c.WhenRemoved)
	}
	if err := allOrNone("--recover-peers and --recover-once", c.RecoverPeers, c.RecoverWord); err != nil {
		return err
	}
	if c.RecoverPeers != "" {
		if _, err := raftnode.ParseRecoverPeers(c.RecoverPeers); err != nil {
			return fmt.Errorf("--recover-peers: %w", err)
		}
	}
	if c.Slots < 0 || c.Slots > 1024 {
		return fmt.Errorf("--slots %d: 0 to 1024", c.Slots)
	}
	return nil
}

// maxDrain bounds Config.Drain: whoever ends processes does not wait for longer.
const maxDrain = 10 * time.Minute

func (c Config) checkTimes() error {
	for _, t := range []struct {
		flag string
		d    time.Duration
	}{
		{"--heartbeat-timeout", c.HeartbeatTimeout},
		{"--election-timeout", c.ElectionTimeout},
		{"--snapshot-interval", c.SnapshotInterval},
		{"--grace", c.Grace},
	} {
		if t.d != 0 && (t.d < 10*time.Millisecond || t.d > time.Hour) {
			return fmt.Errorf("%s %s: 10ms to 1h", t.flag, t.d)
		}
	}
	if c.Drain > maxDrain {
		return fmt.Errorf("--drain %s: at most %s", c.Drain, maxDrain)
	}
	if i := c.BackupInterval; i != 0 && (i < time.Second || i > 31*24*time.Hour) {
		return fmt.Errorf("--backup-interval %s: 1s to 744h", i)
	}
	if c.BackupKeep < 0 || c.BackupKeep > 100_000 {
		return fmt.Errorf("--backup-keep %d: 1 to 100000", c.BackupKeep)
	}
	return nil
}

func (c Config) checkFiles() error {
	if err := allOrNone("--peer-ca, --peer-cert and --peer-key", c.PeerCA, c.PeerCert, c.PeerKey); err != nil {
		return err
	}
	if len(c.TLSHosts) > 0 && c.TLSDir == "" {
		return errors.New("--tls-hosts needs --tls-dir: they are names in the certificates that are made there")
	}
	if c.HTTPClientCA != "" && !c.httpHasTLS() {
		return errors.New("--http-client-ca needs --tls-dir, or --http-cert and --http-key")
	}
	return allOrNone("--http-cert and --http-key", c.HTTPCert, c.HTTPKey)
}

func (c Config) peerHasTLS() bool { return c.PeerCA != "" || c.TLSDir != "" }

func (c Config) httpHasTLS() bool { return c.HTTPCert != "" || c.TLSDir != "" }

// checkAuditDir refuses a directory that cannot be made or read, before anything is written.
func (c Config) checkAuditDir() error {
	if c.AuditDir == "" || within(c.DataDir, c.AuditDir) { // the data directory may not be there yet
		return nil
	}
	if same, err := filepath.Rel(c.DataDir, c.AuditDir); err == nil && same == "." {
		return fmt.Errorf("--audit-dir %s is the data directory: give it one of its own, such as %s", c.AuditDir, filepath.Join(c.DataDir, "audit"))
	}
	_, err := os.ReadDir(c.AuditDir)
	if errors.Is(err, os.ErrNotExist) {
		_, err = os.ReadDir(filepath.Dir(filepath.Clean(c.AuditDir))) // it is made in there
	}
	if err != nil {
		return fmt.Errorf("--audit-dir: %w", err)
	}
	return nil
}

// within reports whether a path is below a directory.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel) && rel != "."
}

// addrFlag is an address with its flag.
type addrFlag struct{ flag, addr string }

// lecoAddrs are the addresses of LECO's doors; "" is a door that there is not.
func (c Config) lecoAddrs() []addrFlag {
	return []addrFlag{{"--leco-addr", c.LECOAddr}, {"--leco-data-addr", c.LECODataAddr}, {"--leco-log-addr", c.LECOLogAddr}}
}

func (c Config) checkListeners() error {
	for _, h := range c.HTTPHosts {
		if h != "*" && !validHost.MatchString(h) {
			return fmt.Errorf("--http-hosts %q: names without a port, or * for any", h)
		}
	}
	for _, a := range []addrFlag{
		{"--http-addr", c.HTTPAddr}, {"--peer-addr", c.PeerAddr}, {"--ops-addr", c.OpsAddr}, {"--component-addr", c.ComponentAddr},
	} {
		if err := checkAddr(a, anyFreePort); err != nil {
			return err
		}
	}
	for _, a := range c.lecoAddrs() {
		if a.addr == "" {
			continue
		}
		if err := checkAddr(a, anyFreePort); err != nil {
			return err
		}
	}
	if len(c.LECOPeers) > 0 && c.LECOAddr == "" {
		return errors.New("--leco-peers needs --leco-addr: they link back")
	}
	return nil
}

func (c Config) checkAdvertise() error {
	if c.Advertise == "" {
		if listensEverywhere(c.PeerAddr) {
			return fmt.Errorf("--peer-addr %q listens everywhere: say with --advertise which name others dial", c.PeerAddr)
		}
		return nil
	}
	if err := checkAddr(addrFlag{"--advertise", c.Advertise}, 1); err != nil {
		return err
	}
	if listensEverywhere(c.Advertise) {
		return fmt.Errorf("--advertise %q: others cannot dial that; give a name or an address", c.Advertise)
	}
	return nil
}

// listensEverywhere tells whether a configured address is that of all interfaces.
func listensEverywhere(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	return host == "" || host == "0.0.0.0" || host == "::"
}

// topology parses the setting, and its file.
func (c Config) topology() (route.Policy, error) {
	p, err := route.ParsePolicy(c.Topology, os.ReadFile)
	switch {
	case err != nil:
		return p, fmt.Errorf("--topology: %w", err)
	case !p.Knows(c.ID):
		return p, fmt.Errorf("--topology %s has no line for this coordinator, %s", c.Topology, c.ID)
	}
	return p, nil
}

// checkSecurity refuses a port that other machines reach without TLS and tokens.
func (c Config) checkSecurity() error {
	if c.Insecure {
		return nil
	}
	if !isLoopback(c.PeerAddr) && !c.peerHasTLS() {
		return fmt.Errorf("--peer-addr %s is reachable from other machines: give --tls-dir, or --peer-ca, --peer-cert and --peer-key, or --insecure", c.PeerAddr)
	}
	if !isLoopback(c.HTTPAddr) && (!c.httpHasTLS() || c.TokenFile == "") {
		return fmt.Errorf("--http-addr %s is reachable from other machines: give --tls-dir (or --http-cert and --http-key) and --token-file, or --insecure", c.HTTPAddr)
	}
	for _, a := range c.lecoAddrs() {
		if a.addr != "" && !isLoopback(a.addr) && !slices.Contains(c.OpenDoors, doorLECO) {
			return fmt.Errorf("%s %s is reachable from other machines and LECO has no tokens: keep it on loopback, or give --open-doors leco", a.flag, a.addr)
		}
	}
	if !isLoopback(c.ComponentAddr) && (!c.httpHasTLS() || c.TokenFile == "") {
		return fmt.Errorf("--component-addr %s is reachable from other machines: give --tls-dir (or --http-cert and --http-key) and --token-file, or --insecure", c.ComponentAddr)
	}
	return nil
}

// doorLECO is the door for LECO by its name in --open-doors.
const doorLECO = "leco"

func (c Config) checkOpenDoors() error {
	for _, door := range c.OpenDoors {
		if door != doorLECO {
			return fmt.Errorf("--open-doors %q: the only door without a lock is leco", door)
		}
	}
	return nil
}

// insecureReason says which ports other machines reach without a lock, because of
// --insecure or of --open-doors; "" is none.
func (c Config) insecureReason() string {
	var open []string
	secure := c
	secure.Insecure = false
	if err := secure.checkSecurity(); err != nil {
		open = append(open, err.Error())
	}
	for _, a := range c.lecoAddrs() {
		if a.addr != "" && !isLoopback(a.addr) && slices.Contains(c.OpenDoors, doorLECO) {
			open = append(open, fmt.Sprintf("%s %s is reachable from other machines and LECO has no tokens: --open-doors leco", a.flag, a.addr))
		}
	}
	return strings.Join(open, "; ")
}

// allOrNone refuses some of the files that only work together.
func allOrNone(what string, files ...string) error {
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

// anyFreePort is the port 0 of an address to listen at.
const anyFreePort = 0

// checkAddr refuses what is not host:port with a port from minPort on.
func checkAddr(a addrFlag, minPort uint64) error {
	_, port, err := net.SplitHostPort(a.addr)
	if err != nil {
		return fmt.Errorf("%s %q: want host:port", a.flag, a.addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n < minPort {
		return fmt.Errorf("%s %q: the port is a number from %d to 65535", a.flag, a.addr, minPort)
	}
	return nil
}
