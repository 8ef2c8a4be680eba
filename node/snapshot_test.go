package node_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
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
	token, _, err := clientOf(t, "", n).CreateToken(t.Context(), wire.NewToken{Name: "ops", Grants: []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, token.Token, n)
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
	for i, id := range []string{"n1", "n2"} {
		n := run(t, node.Config{
			ID: id, DataDir: filepath.Join(dir, id), PeerAddr: peers[i], Join: peers, Expect: 2,
			HeartbeatTimeout: 5 * time.Second, ElectionTimeout: 5 * time.Second, // a busy machine is no reason for another leader
			BackupDir: backups[id], BackupInterval: time.Second, BackupKeep: 1,
		})
		nodes = append(nodes, n)
	}
	ready(t, nodes...)
	c := clientOf(t, "", nodes...)
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
	var first []string
	eventually(t, "the leader keeps a snapshot", func() bool { first = files(leader.ID); return len(first) == 1 })
	eventually(t, "a second one takes the place of the first", func() bool {
		now := files(leader.ID)
		return len(now) == 1 && now[0] != first[0]
	})
	if there := files(other); len(there) != 0 {
		t.Errorf("%s does not lead, and has %v", other, there)
	}
	if _, _, err := c.TransferLeadership(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new leader goes on", func() bool {
		there := files(other)
		if len(there) == 0 {
			return false
		}
		f, err := os.Open(there[0])
		if err != nil {
			return false // another has taken its place
		}
		defer f.Close()
		_, err = fsm.ReadFile(f)
		return err == nil
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
	c := clientOf(t, "", n)
	if _, _, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: "true", Items: rawItems("1")}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(file); err != nil { // mended by itself, an interval later
		t.Fatal(err)
	}
	eventually(t, "a snapshot is kept, since the directory can be made", func() bool {
		names, _ := filepath.Glob(filepath.Join(file, "folkmoot-*.snap.gz"))
		return len(names) > 0
	})
}

// restores is a cluster of three with a worker, and what to ask it by.
func restores(t *testing.T) ([]*node.Node, *client.Client, string) {
	t.Helper()
	dir := t.TempDir()
	peers := freeAddrs(t, 3)
	var nodes []*node.Node
	for i, id := range []string{"n1", "n2", "n3"} {
		n := run(t, node.Config{
			ID: id, DataDir: filepath.Join(dir, id), PeerAddr: peers[i], Join: peers, Expect: 3, Worker: id == "n1", Slots: 2,
			HeartbeatTimeout: 5 * time.Second, ElectionTimeout: 5 * time.Second, // a busy machine is no reason for another leader
		})
		nodes = append(nodes, n)
	}
	ready(t, nodes...)
	c := clientOf(t, "", nodes...)
	status, _, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return nodes, c, status.ClusterID
}

// finish submits a job and waits for its end.
func finish(t *testing.T, c *client.Client, script string) wire.Job {
	t.Helper()
	job, _, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: script, Items: rawItems("1")})
	if err != nil {
		t.Fatal(err)
	}
	return awaitJob(t, c, job.ID)
}

func awaitJob(t *testing.T, c *client.Client, id string) wire.Job {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		job, _, err := c.Job(t.Context(), id, client.Read{})
		if err == nil && client.Final(job.State) {
			return job
		}
		if time.Now().After(deadline) {
			t.Fatalf("job %s does not end: %+v, %v", id, job, err)
		}
	}
}

// A snapshot is restored over a cluster that works: what came after it is gone, sessions are over, the worker signs in anew
// and goes on, a job that was at work in the snapshot is done, and all members have the same state.
func TestRestore(t *testing.T) {
	t.Parallel()
	nodes, c, cluster := restores(t)
	before := finish(t, c, "echo before")
	open, _, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: "echo open", Items: rawItems("1", "2", "3")})
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := c.SignIn(t.Context(), wire.SignIn{Name: "laser", Lease: wire.Duration(10 * time.Minute)}, "")
	if err != nil {
		t.Fatal(err)
	}
	file := save(t, c)
	after := finish(t, c, "echo after")
	awaitJob(t, c, open.ID)

	for name, refusal := range map[string]struct {
		file    []byte
		cluster string
		code    wire.Code
	}{
		"another cluster":   {file, "none", wire.CodeConflict},
		"a piece":           {file[:len(file)/2], cluster, wire.CodeInvalid},
		"a text":            {[]byte("state"), cluster, wire.CodeInvalid},
		"without a cluster": {file, "", wire.CodeInvalid},
	} {
		if _, _, err := c.Restore(t.Context(), refusal.file, refusal.cluster, true); wire.CodeOf(err) != refusal.code {
			t.Errorf("%s: %v, want %s", name, err, refusal.code)
		}
	}
	if _, _, err := c.Job(t.Context(), after.ID, client.Read{}); err != nil {
		t.Fatalf("what was refused changed something: %v", err)
	}

	done, meta, err := c.Restore(t.Context(), file, cluster, false)
	if err != nil {
		t.Fatal(err)
	}
	if done.Cluster != cluster || done.FileCluster != cluster || done.Index <= done.FileIndex || meta.Index != done.Index {
		t.Errorf("restored %+v at %d", done, meta.Index)
	}
	strict := client.Read{Consistency: "strict"}
	if _, _, err := c.Job(t.Context(), after.ID, strict); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("a job of after the snapshot: %v", err)
	}
	if j, _, err := c.Job(t.Context(), before.ID, strict); err != nil || j.State != "done" {
		t.Errorf("a job of before the snapshot: %+v, %v", j, err)
	}
	if _, _, err := c.Heartbeat(t.Context(), "n1.laser", session.Secret); wire.CodeOf(err) == "" {
		t.Error("the secret of a session of before still opens something")
	}
	if j := awaitJob(t, c, open.ID); j.State != "done" {
		t.Errorf("the job that was open in the snapshot ended as %s: %s", j.State, j.Reason)
	}
	if j := finish(t, c, "echo new"); j.State != "done" {
		t.Errorf("a new job ended as %s: %s", j.State, j.Reason)
	}
	var each []*client.Client
	for _, n := range nodes {
		each = append(each, clientOf(t, "", n))
	}
	digests := map[string]string{}
	eventually(t, "all come to one index", func() bool {
		clear(digests)
		indices := map[uint64]bool{}
		for i, c := range each {
			d, _, err := c.Digest(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			digests[d.Digest], indices[d.Index] = nodes[i].Addrs().ID, true
		}
		return len(indices) == 1
	})
	if len(digests) != 1 {
		t.Errorf("at one index the states differ: %v", digests)
	}
}

// The leadership changes hands while a large file goes through the log: it is restored once, or not at all, and one of
// three is restored; afterwards, with the leadership at rest, every one is.
func TestRestoreWhileLeadersChange(t *testing.T) {
	t.Parallel()
	nodes, c, cluster := restores(t)
	random := rand.New(rand.NewPCG(1, 2))
	script := make([]byte, 150<<10)
	for round := 1; ; round++ {
		var all []string
		for range 12 { // nothing that compresses: a MiB more in each round, and so many entries
			for i := range script {
				script[i] = 'a' + byte(random.IntN(26))
			}
			job, _, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: ": " + string(script), Items: rawItems("1")})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, job.ID)
		}
		for _, id := range all {
			awaitJob(t, c, id)
		}
		file := save(t, c)
		after := finish(t, c, "echo after")
		changes, err := restoreAmongChanges(t, nodes, c, func() error {
			_, _, err := c.Restore(t.Context(), file, cluster, false)
			return err
		})
		_, _, missing := c.Job(t.Context(), after.ID, client.Read{Consistency: "strict"})
		switch {
		case err == nil && wire.CodeOf(missing) != wire.CodeNotFound:
			t.Errorf("restored, and a job of after the snapshot is there: %v", missing)
		case wire.CodeOf(err) == wire.CodeUnavailable && missing != nil:
			t.Errorf("it is said that nothing was restored (%v), and the job is gone: %v", err, missing)
		case err != nil && wire.CodeOf(err) != wire.CodeUnavailable && wire.CodeOf(err) != wire.CodeUnknown:
			t.Error(err)
		}
		t.Logf("%d bytes, %d changes of leaders, %v", len(file), changes, err)
		if err == nil && changes > 0 {
			break
		}
		if round == 3 {
			t.Fatalf("nothing was restored while leaders changed: at last %d changes, %v", changes, err)
		}
	}
	file := save(t, c)
	after := finish(t, c, "echo after")
	if _, _, err := c.Restore(t.Context(), file, cluster, false); err != nil {
		t.Errorf("restore once no leader changes: %v", err)
	}
	if _, _, err := c.Job(t.Context(), after.ID, client.Read{Consistency: "strict"}); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("a job of after the snapshot: %v", err)
	}
}

// restoreAmongChanges hands the leadership over after every piece of a file that is restored, and returns how often the
// leadership changed while pieces of it were in the state, and how the restore ended.
func restoreAmongChanges(t *testing.T, nodes []*node.Node, c *client.Client, restore func() error) (changes int, _ error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- restore() }()
	had, term := int64(-1), uint64(0)
	for next := 0; ; {
		select {
		case err := <-ended:
			return changes, err
		case <-time.After(time.Millisecond):
		}
		n := nodes[next%len(nodes)]
		received, some := n.Restoring()
		if !some || received <= had {
			continue
		}
		had, next = received, next+1
		leader, _, err := c.TransferLeadership(t.Context(), n.Addrs().ID)
		if err != nil {
			continue
		}
		if _, still := n.Restoring(); still && leader.Term > term && term > 0 { // the first may have led already
			changes++
		}
		term = leader.Term
	}
}
