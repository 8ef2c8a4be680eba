package integration_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// impostor is one of three members that is out of its mind: its certificate and its hello are good, what follows is not.
type impostor struct {
	*cluster
	certificate tls.Certificate
	authorities *x509.CertPool
	hello       string // of the member
	apis        map[*process]*client.Client
}

// Whatever a damaged member sends by a good certificate, the two others go on, in bounds, and serve; and when it is whole
// again it is one of them.
func TestAbuseByADamagedMember(t *testing.T) {
	t.Parallel()
	m := newImpostor(t)
	for _, p := range m.nodes[:2] {
		p.before = p.use()
	}
	for what, row := range m.rows() {
		if !t.Run(what, func(t *testing.T) {
			for _, p := range m.nodes[:2] {
				m.throw(t, p, row)
			}
			m.serves(t, what)
		}) {
			return // the rows to come would say the same, each after a minute
		}
	}
	for _, p := range m.nodes[:2] {
		p.holdsWhatItHeld(10, 25)
	}
	m.nodes[2].start()
	m.waitHealthy(3)
	m.agree()
}

// newImpostor starts three members that know each other by certificates, and takes the third one's place.
func newImpostor(t *testing.T) *impostor {
	t.Helper()
	dir := t.TempDir()
	m := &impostor{cluster: newCluster(t, 3), apis: map[*process]*client.Client{}}
	m.ctl(0, "ca", "init", "--cluster", "lab", "--dir", dir)
	ca := filepath.Join(dir, "ca.pem")
	for _, p := range m.nodes {
		own := filepath.Join(dir, p.name)
		m.ctl(0, "ca", "issue", "--dir", dir, "--id", p.name, "--hosts", "127.0.0.1", "--out", own)
		p.args = append(p.args, "--peer-ca", ca, "--peer-cert", filepath.Join(own, "cert.pem"), "--peer-key", filepath.Join(own, "key.pem"))
		p.start()
	}
	m.waitHealthy(3)
	for _, p := range m.nodes[:2] {
		m.apis[p] = p.api()
	}
	var err error
	own := filepath.Join(dir, "n3")
	if m.certificate, err = tls.LoadX509KeyPair(filepath.Join(own, "cert.pem"), filepath.Join(own, "key.pem")); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	m.authorities = x509.NewCertPool()
	m.authorities.AppendCertsFromPEM(pem)
	all, _, err := m.api().Members(t.Context(), client.Read{})
	if err != nil {
		t.Fatal(err)
	}
	status, _, err := m.nodes[2].api().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range all.Members {
		if member.ID == "n3" {
			m.hello = string(asJSON(map[string]any{"version": 1, "cluster": status.ClusterID, "server_id": member.ServerID, "id": "n3", "boot": 1 << 40}))
		}
	}
	m.nodes[2].kill()
	m.serves(t, "the loss of n3")
	return m
}

// thrown is what a damaged member sends.
type thrown struct {
	kind  string // of the connection
	bytes []byte
	times int
}

// rows are what is thrown.
func (m *impostor) rows() map[string]thrown {
	chance := rand.New(rand.NewPCG(1, 2)) // the same each time
	garbage := make([]byte, 1<<20)
	for i := range garbage {
		garbage[i] = byte(chance.Uint32())
	}
	rows := map[string]thrown{}
	for _, kind := range []string{"R", "L", "C"} {
		rows[kind+": garbage"] = thrown{kind, garbage, 1}
		rows[kind+": zeros"] = thrown{kind, make([]byte, 1<<20), 1}
		rows[kind+": a length of 2^32-1"] = thrown{kind, append([]byte("\xff\xff\xff\xff"), garbage[:4096]...), 1}
		rows[kind+": nothing, many times"] = thrown{kind, nil, 50}
	}
	for request := range byte(8) {
		// The names of fields are long, lists and bytes are announced and do not come.
		rows[fmt.Sprintf("R: request %d without an end", request)] = thrown{"R", slicesOf([]byte{request, 0xdf, 0xff, 0xff, 0xff, 0xff}, bytes.Repeat([]byte("\xdb\xff\xff\xff\xff"), 100)), 1}
		rows[fmt.Sprintf("R: request %d nested", request)] = thrown{"R", slicesOf([]byte{request}, bytes.Repeat([]byte{0x91}, 1<<20)), 1}
		rows[fmt.Sprintf("R: request %d of 2^32-1 entries", request)] = thrown{"R", slicesOf([]byte{request, 0x82}, packed("Term", uint64(1)), []byte("\xa7Entries\xdd\xff\xff\xff\xff")), 1}
	}
	header := func(more ...any) []byte {
		return packedMap(append([]any{"ProtocolVersion", uint64(3), "ID", []byte("n3"), "Addr", []byte("127.0.0.1:1")}, more...)...)
	}
	for what, term := range map[string]uint64{"0": 0, "a term of before": 1, "a later term": 1000, "2^62": 1 << 62, "the last one there is": math.MaxUint64} {
		rows["R: entries of term "+what] = thrown{"R", append([]byte{0}, header("Term", term, "PrevLogEntry", uint64(1)<<60, "PrevLogTerm", term, "LeaderCommitIndex", uint64(1)<<60)...), 1}
		rows["R: a candidate of term "+what] = thrown{"R", append([]byte{1}, header("Term", term, "Candidate", []byte("127.0.0.1:1"), "LastLogIndex", uint64(1)<<60, "LastLogTerm", term, "LeadershipTransfer", true)...), 1}
		rows["R: a snapshot of term "+what] = thrown{"R", slicesOf([]byte{2}, header("Term", term, "LastLogIndex", uint64(1)<<60, "LastLogTerm", term, "Size", uint64(1)<<60), garbage[:1000]), 1}
	}
	frame := func(payload []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
		return append(binary.BigEndian.AppendUint32(b, crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))), payload...)
	}
	call := func(method string, body []byte) []byte {
		payload := slicesOf([]byte{1}, make([]byte, 7), []byte{1}, make([]byte, 8), []byte{byte(len(method))}, []byte(method), body)
		return frame(payload)
	}
	for _, method := range []string{"propose", "join", "apply", "", strings.Repeat("m", 255)} {
		rows[fmt.Sprintf("C: %.10q with garbage", method)] = thrown{"C", bytes.Repeat(call(method, garbage[:1000]), 20), 1}
		rows[fmt.Sprintf("C: %.10q nested", method)] = thrown{"C", call(method, bytes.Repeat([]byte("["), 100_000)), 1}
	}
	rows["C: an answer to nobody"] = thrown{"C", frame(slicesOf([]byte{2}, make([]byte, 8))), 20}
	return rows
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// packedMap is a map in MessagePack, as raft's transport has it; packed is one of its members.
func packedMap(members ...any) []byte {
	b := []byte{0x80 | byte(len(members)/2)}
	for i := 0; i+1 < len(members); i += 2 {
		b = append(b, packed(members[i].(string), members[i+1])...)
	}
	return b
}

func packed(name string, value any) []byte {
	b := append([]byte{0xa0 | byte(len(name))}, name...)
	switch v := value.(type) {
	case uint64:
		return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
	case bool:
		return append(b, 0xc3)
	case []byte:
		return append(append(b, 0xc4, byte(len(v))), v...)
	}
	panic("no such value")
}

// throw says the member's hello and what follows it. The coordinator ends the connection, or it is left.
func (m *impostor) throw(t *testing.T, p *process, row thrown) {
	t.Helper()
	for range row.times {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", p.peer, &tls.Config{
			Certificates: []tls.Certificate{m.certificate}, RootCAs: m.authorities, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13,
		})
		if err != nil {
			t.Fatalf("dial %s: %v", p.name, err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, row.kind+length(uint32(len(m.hello)))+m.hello); err != nil {
			t.Fatal(err)
		}
		said := make([]byte, 1)
		if _, err := io.ReadFull(conn, said); err != nil || said[0] != '+' {
			rest, _ := io.ReadAll(conn)
			t.Fatalf("%s refuses the member's hello: %q %q, %v", p.name, said, rest, err)
		}
		_, _ = conn.Write(row.bytes) // it may be closed already
		_ = conn.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second)) // a stream need not end before it is left
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
}

// serves checks that the two go on as the same processes, and take a write at each.
func (m *impostor) serves(t *testing.T, what string) {
	t.Helper()
	for _, p := range m.nodes[:2] {
		if !p.running() {
			t.Fatalf("after %s: %s has ended\n%s", what, p.name, p.tail())
		}
		eventually(t, p.name+" to take a write after "+what, func(ctx ctx) error {
			_, _, err := m.apis[p].SignIn(ctx, wire.SignIn{Name: fmt.Sprintf("at-%d", time.Now().UnixNano())}, "")
			return err
		})
	}
}
