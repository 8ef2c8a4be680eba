package integration_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// newDataDirs names a release whose data directories are recorded. Files that are there are
// never written again: they are what that release wrote.
var newDataDirs = flag.String("newdatadirs", "", "record testdata/datadirs/NAME-*.tar.gz, which must not be there yet")

const dataDirs = "testdata/datadirs"

// recording is what a data directory that a release has written must hold for every later one.
type recording struct {
	Index       uint64 `json:"index"` // of the newest entry
	Fingerprint string `json:"fingerprint"`
	ClusterID   string `json:"cluster_id"`
	Level       int    `json:"level"`
	LogStore    string `json:"log_store"`

	Sessions map[string]string      `json:"sessions"` // by the component's full name
	Labels   map[string]string      `json:"labels"`   // of n1.c0
	Secret   string                 `json:"secret"`   // of the session of n1.c0
	Jobs     map[string]recordedJob `json:"jobs"`
	Results  map[string][]any       `json:"results"` // by job and part

	Tokens map[string][]string `json:"tokens,omitempty"` // grants, by the token's id
	Reader string              `json:"reader,omitempty"` // the secret of one that may read in n1
	Ended  string              `json:"ended,omitempty"`  // the secret of one that was revoked
}

type recordedJob struct {
	State     string          `json:"state"`
	Namespace string          `json:"namespace"`
	Parts     wire.PartCounts `json:"parts"`
}

// A data directory of every release that was recorded holds for today's build the state that
// it held, to the last entry of its log, and today's coordinator goes on with it.
func TestDataDirectoriesOfReleases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(dataDirs + "/*.tar.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no data directory is recorded: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".tar.gz"), func(t *testing.T) {
			t.Parallel()
			c := &cluster{t: t, dir: t.TempDir()}
			free := ports(t, 3)
			p := c.prepare("n1", free[0], free[1], free[2], "--audit-dir", "")
			unpackGzip(t, file, p.data)
			want := readRecording(t, strings.TrimSuffix(file, ".tar.gz")+".json")
			p.args = append(p.args, "--log-store", want.LogStore)
			if want.Level >= 2 {
				p.asksForToken(operatorToken)
			}
			if index, fingerprint := replayed(t, p.data); index != want.Index || fingerprint != want.Fingerprint {
				t.Errorf("its snapshot and log make the state %s at index %d, and it was recorded as %s at %d", fingerprint, index, want.Fingerprint, want.Index)
			}
			p.start()
			c.waitHealthy(1)
			c.holds(p, want)
			c.signIn(p, "today", time.Hour)
			p.kill()
			p.start()
			c.waitHealthy(1)
			c.has("n1.today", "n1")
			c.holds(p, want)
		})
	}
}

// replayed is the state that the snapshot and the log of a stopped coordinator make.
func replayed(t *testing.T, dir string) (index uint64, fingerprint string) {
	t.Helper()
	machine := fsm.New()
	var wrong error
	machine.Fatal = func(_ uint64, err error) { wrong = err }
	_, err := raftnode.Recover(raftnode.RecoverConfig{
		Dir: dir, Peers: []raftnode.RecoverPeer{{ID: "n1", Address: "127.0.0.1:7300"}}, DryRun: true,
		Machine: machine, MachineErr: func() error { return wrong },
	})
	if err != nil {
		t.Fatalf("replay %s: %v", dir, err)
	}
	return machine.View().Index, machine.View().Fingerprint()
}

// holds compares what a coordinator answers with what was recorded.
func (c *cluster) holds(p *process, want recording) {
	c.t.Helper()
	got := c.record(p)
	if st := c.status(p); st.AppliedIndex < want.Index {
		c.t.Errorf("the index went back from %d to %d", want.Index, st.AppliedIndex)
	}
	delete(got.Sessions, "n1.today")
	for _, field := range []struct {
		name      string
		got, want any
	}{
		{"cluster", got.ClusterID, want.ClusterID},
		{"level", got.Level, want.Level},
		{"sessions", got.Sessions, want.Sessions},
		{"labels of n1.c0", got.Labels, want.Labels},
		{"jobs", got.Jobs, want.Jobs},
		{"results", got.Results, want.Results},
		{"tokens", got.Tokens, want.Tokens},
	} {
		if !reflect.DeepEqual(field.got, field.want) {
			c.t.Errorf("%s: got %v, recorded were %v", field.name, field.got, field.want)
		}
	}
	if _, _, err := p.api().Heartbeat(c.t.Context(), "n1.c0", want.Secret); err != nil {
		c.t.Errorf("a heartbeat with the recorded secret: %v", err)
	}
	if want.Reader != "" {
		if _, _, err := p.as(want.Reader).Component(c.t.Context(), "n1.c0", client.Read{}); err != nil {
			c.t.Errorf("a read with the recorded token: %v", err)
		}
		if _, _, err := p.as(want.Ended).TokenSelf(c.t.Context()); wire.CodeOf(err) != wire.CodeUnauthorized {
			c.t.Errorf("a token that was revoked before: %v", err)
		}
	}
}

// as is a client with a token of its own.
func (p *process) as(token string) *client.Client {
	p.t.Helper()
	q := *p
	q.token = token
	return q.api()
}

// record asks a coordinator for everything that a recording compares.
func (c *cluster) record(p *process) (r recording) {
	c.t.Helper()
	ctx, api := c.t.Context(), p.api()
	check := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	r.ClusterID = c.status(p).ClusterID
	level, _, err := api.Level(ctx, client.Read{})
	check(err)
	r.Level = level.Level
	components, _, err := api.Components(ctx, client.Components{Page: client.Page{Limit: 1000}})
	check(err)
	r.Sessions = map[string]string{}
	for _, x := range components.Components {
		r.Sessions[x.FullName] = x.Session
		if x.FullName == "n1.c0" {
			r.Labels = x.Labels
		}
	}
	all, _, err := api.Jobs(ctx, client.Jobs{Page: client.Page{Limit: 1000}})
	check(err)
	r.Jobs, r.Results = map[string]recordedJob{}, map[string][]any{}
	for _, j := range all.Jobs {
		r.Jobs[j.ID] = recordedJob{j.State, j.Namespace, j.Parts}
		if client.Final(j.State) {
			for result, err := range api.Results(ctx, j.ID, false) {
				check(err)
				var value any
				if result.Result != nil {
					check(json.Unmarshal(result.Result, &value))
				}
				r.Results[j.ID] = append(r.Results[j.ID], value)
			}
		}
	}
	if r.Level >= 2 {
		tokens, _, err := api.Tokens(ctx, client.Page{Limit: 1000}, client.Read{})
		check(err)
		r.Tokens = map[string][]string{}
		for _, x := range tokens.Tokens {
			r.Tokens[x.ID] = x.Grants
		}
	}
	return r
}

func readRecording(t *testing.T, file string) (r recording) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// This records the data directories of today's build:
//
//	go test ./integration -run TestRecordDataDirectories -newdatadirs v0.2.0
//
// Those of level 1 are founded by the build of olderBuild, since a new cluster begins at the
// highest level.
func TestRecordDataDirectories(t *testing.T) {
	if *newDataDirs == "" {
		t.Skip("-newdatadirs names no release")
	}
	if err := os.MkdirAll(dataDirs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, store := range []string{"bolt", "wal"} {
		for level := 1; level <= fsm.Level; level++ {
			name := fmt.Sprintf("%s/%s-level%d-%s", dataDirs, *newDataDirs, level, store)
			t.Run(filepath.Base(name), func(t *testing.T) { recordDataDir(t, name, store, level) })
		}
	}
}

func recordDataDir(t *testing.T, name, store string, level int) {
	c := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3)
	p := c.prepare("n1", free[0], free[1], free[2], "--log-store", store, "--snapshot-threshold", "30", "--snapshot-interval", "100ms", "--trailing-logs", "10")
	if level == 1 {
		p.build = buildOlder(t)
		p.start()
		c.waitHealthy(1)
		c.signIn(p, "founder", time.Hour)
		p.stop()
		p.build = ""
	} else {
		p.asksForToken(operatorToken)
	}
	p.args = append(p.args, "--audit-dir", "") // so that nothing is written when it ends
	p.start()
	c.waitHealthy(1)
	var more recording // what cannot be asked for afterwards
	if level >= 2 {
		more = c.recordTokens(p)
	}
	in, _, err := p.api().SignIn(t.Context(), wire.SignIn{Name: "c0", Lease: wire.Duration(time.Hour), Labels: map[string]string{"color": "red"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 40; i++ {
		c.signIn(p, fmt.Sprintf("c%d", i), time.Hour)
	}
	c.recordJobs(p, level)
	eventually(t, "a snapshot", func(ctx ctx) error {
		st, _, err := p.api().Status(ctx)
		if err == nil && st.LastSnapshot == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	gone := c.signIn(p, "gone", time.Hour) // entries behind the snapshot
	c.signIn(p, "late", time.Hour)
	if _, err := p.api().SignOut(t.Context(), gone.FullName, gone.Secret); err != nil {
		t.Fatal(err)
	}
	r := c.record(p)
	r.LogStore, r.Secret, r.Reader, r.Ended = store, in.Secret, more.Reader, more.Ended
	digest := c.agree()
	p.kill()
	r.Index, r.Fingerprint = replayed(t, p.data)
	if r.Index != digest.Index || r.Fingerprint != digest.Digest {
		t.Fatalf("it ended at index %d with %s, and was asked at %d with %s: record it again", r.Index, r.Fingerprint, digest.Index, digest.Digest)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	packGzip(t, p.data, name+".tar.gz")
	if err := os.WriteFile(name+".json", append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// recordTokens has one token that reads, one by which somebody is signed in and one that was
// revoked, and a session that ended with it.
func (c *cluster) recordTokens(p *process) (r recording) {
	c.t.Helper()
	create := func(name, grant string) wire.Token {
		made, _, err := p.api().CreateToken(c.t.Context(), wire.NewToken{Name: name, Grants: []string{grant}})
		if err != nil {
			c.t.Fatal(err)
		}
		return made
	}
	signIn := func(by wire.Token, name string) {
		if _, _, err := p.as(by.Token).SignIn(c.t.Context(), wire.SignIn{Name: name, Lease: wire.Duration(time.Hour)}, ""); err != nil {
			c.t.Fatal(err)
		}
	}
	reader, writer, ended := create("reader", "read@n1"), create("writer", "write@n1"), create("ended", "write@n1")
	signIn(writer, "byToken")
	signIn(ended, "byRevokedToken")
	if _, err := p.api().RevokeToken(c.t.Context(), ended.ID); err != nil {
		c.t.Fatal(err)
	}
	r.Reader, r.Ended = reader.Token, ended.Token
	return r
}

// recordJobs has a job that is done, one that failed, and one that waits.
func (c *cluster) recordJobs(p *process, level int) {
	c.t.Helper()
	w := &process{t: c.t, name: "w", program: "worker", log: &logFile{}, args: []string{"--addr", p.http, "--name", "w", "--slots", "2", "--dir", c.t.TempDir()}}
	if level >= 2 {
		token := filepath.Join(c.t.TempDir(), "token")
		if err := os.WriteFile(token, []byte(operatorToken+"\n"), 0o600); err != nil {
			c.t.Fatal(err)
		}
		w.args = append(w.args, "--token-file", token)
	}
	c.t.Cleanup(w.end)
	w.start()
	c.submit(p, wire.SubmitJob{ID: "done", Runtime: "sh", Script: "echo 7", Items: numbers(3), Keep: wire.Duration(24 * time.Hour)})
	c.submit(p, wire.SubmitJob{ID: "failed", Runtime: "sh", Script: "exit 3", Items: numbers(1), MaxAttempts: 1, Keep: wire.Duration(24 * time.Hour)})
	c.ended("done", "done")
	c.ended("failed", "failed")
	w.stop()
	waits := wire.SubmitJob{ID: "waits", Runtime: "sh", Script: "echo 1", Items: numbers(5)}
	if level >= 2 {
		waits.Namespace = "lab1"
	}
	c.submit(p, waits)
}

// packGzip writes the regular files of a directory to a new file.
func packGzip(t *testing.T, dir, to string) {
	t.Helper()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	})
	if err := errors.Join(err, w.Close(), z.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// unpackGzip makes a directory of what packGzip wrote.
func unpackGzip(t *testing.T, file, to string) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err == nil {
		err = errors.Join(os.Mkdir(to, 0o700), unpack(z, to))
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
