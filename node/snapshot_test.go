package node_test

import (
	"bytes"
	"compress/gzip"
	"io"
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
