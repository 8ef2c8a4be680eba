package node_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// save returns the state of the cluster as a file.
func save(t *testing.T, c *client.Client) []byte {
	t.Helper()
	body, _, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	file, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What is saved has every write that was answered before, and of secrets only their hashes.
func TestSnapshotHasAllThatWasWrittenAndNoSecret(t *testing.T) {
	t.Parallel()
	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir()})
	ready(t, n)
	open, err := client.New(client.Config{Addrs: []string{n.Addrs().HTTP}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	token, _, err := open.CreateToken(t.Context(), wire.NewToken{Name: "ops", Grants: []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Addrs: []string{n.Addrs().HTTP}, Timeout: time.Minute, Token: token.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, _, err := c.SignIn(t.Context(), wire.SignIn{Name: "laser", Lease: wire.Duration(10 * time.Minute)}, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		job, meta, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: "true", Items: rawItems("1")})
		if err != nil {
			t.Fatal(err)
		}
		file := save(t, c)
		f, err := fsm.ReadFile(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := f.State.Jobs.Job(job.ID); !ok || f.Header.Index < meta.Index {
			t.Fatalf("the job of index %d is not in the snapshot of index %d", meta.Index, f.Header.Index)
		}
	}
	file := save(t, c)
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(session.Secret, ".")
	for _, secret := range []string{token.Token, session.Secret, secret, strings.TrimPrefix(token.Token, "fmt_")} {
		if secret != "" && bytes.Contains(text, []byte(secret)) {
			t.Errorf("a secret is in the snapshot")
		}
	}
	for _, there := range []string{session.Session, token.ID, `"secret_hash":"`} {
		if !bytes.Contains(text, []byte(there)) {
			t.Errorf("%s is not in the snapshot", there)
		}
	}
}

// The leader alone keeps snapshots, the newest ones; whoever leads next goes on, and a directory that is none stops
// nothing but that.
func TestTheLeaderKeepsBackups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	peers := freeAddrs(t, 2)
	backups := map[string]string{"n1": filepath.Join(dir, "backups of n1"), "n2": filepath.Join(dir, "backups of n2")}
	var nodes []*node.Node
	var addrs []string
	for i, id := range []string{"n1", "n2"} {
		n := run(t, node.Config{
			ID: id, DataDir: filepath.Join(dir, id), PeerAddr: peers[i], Join: peers, Expect: 2,
			HeartbeatTimeout: 5 * time.Second, ElectionTimeout: 5 * time.Second, // a busy machine is no reason for another leader
			BackupDir: backups[id], BackupInterval: time.Second, BackupKeep: 1,
		})
		nodes, addrs = append(nodes, n), append(addrs, n.Addrs().HTTP)
	}
	ready(t, nodes...)
	c, err := client.New(client.Config{Addrs: addrs, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	leader, _, err := c.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"n1": "n2", "n2": "n1"}[leader.ID]
	files := func(id string) []string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(backups[id], "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	var first []string
	await("the leader keeps no snapshot", func() bool { first = files(leader.ID); return len(first) == 1 })
	await("no second one takes the place of the first", func() bool {
		now := files(leader.ID)
		return len(now) == 1 && now[0] != first[0]
	})
	if there := files(other); len(there) != 0 {
		t.Errorf("%s does not lead, and has %v", other, there)
	}
	if _, _, err := c.TransferLeadership(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	await("the new leader does not go on", func() bool {
		for _, name := range files(other) {
			f, err := os.Open(name)
			if err != nil {
				return false // another has taken its place
			}
			defer f.Close()
			if _, err := fsm.ReadFile(f); err != nil {
				return false
			}
			return true
		}
		return false
	})
}

// What cannot be kept is told, and nothing else stops.
func TestBackupsThatFail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "no directory")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := run(t, node.Config{ID: "n1", DataDir: filepath.Join(dir, "data"), BackupDir: file, BackupInterval: time.Second, BackupKeep: 1})
	ready(t, n)
	c, err := client.New(client.Config{Addrs: []string{n.Addrs().HTTP}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: "true", Items: rawItems("1")}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(file); err != nil { // mended by itself, an interval later
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if names, _ := filepath.Glob(filepath.Join(file, "folkmoot-*.snap.gz")); len(names) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no snapshot, though the directory can be made")
		}
	}
}
