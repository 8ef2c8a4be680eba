package node_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// Under a load of writes every coordinator gets a new certificate, and then another authority in three steps, with all
// connections made anew at each: no write fails, and at last nobody trusts the old one.
func TestRotationUnderLoad(t *testing.T) {
	root := t.TempDir()
	files := certfile.Authority{Dir: filepath.Join(root, "ca")}
	old, err := files.Init("lab")
	must(t, err)
	peers := freeAddrs(t, 3)
	var nodes []*node.Node
	var dirs, addrs []string
	issue := func(i int) {
		t.Helper()
		ca, trust, err := files.Load()
		must(t, err)
		hosts, err := authority.ParseHosts([]string{"127.0.0.1", "localhost"})
		must(t, err)
		must(t, certfile.In(dirs[i]).Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: fmt.Sprint("n", i+1), Hosts: hosts, Life: 24 * time.Hour}, trust))
	}
	for i := range 3 {
		id := fmt.Sprint("n", i+1)
		dirs = append(dirs, filepath.Join(root, id+"-tls"))
		must(t, os.Mkdir(dirs[i], 0o700))
		issue(i)
		n := run(t, node.Config{ID: id, DataDir: filepath.Join(root, id), PeerAddr: peers[i], Join: peers, Expect: 3, TLSDir: dirs[i]})
		nodes, addrs = append(nodes, n), append(addrs, "https://"+n.Addrs().HTTP)
	}
	ready(t, nodes...)

	var trust sync.Map // what the writers trust: it changes as their operators copy ca.pem
	trusted := func() {
		_, text, err := files.Load()
		must(t, err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		trust.Store("roots", roots)
	}
	trusted()
	verify := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		roots, _ := trust.Load("roots")
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots.(*x509.CertPool), DNSName: "127.0.0.1"})
		return err
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writers sync.WaitGroup
	var mu sync.Mutex
	writes := make([]int, 3) // at each coordinator
	for i := range 3 {
		writers.Go(func() {
			c, err := client.New(client.Config{Addrs: []string{addrs[i]}, TLS: verify})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for k := 0; ctx.Err() == nil; k++ {
				if _, _, err := c.SignIn(context.WithoutCancel(ctx), wire.SignIn{Name: fmt.Sprintf("w%d-%d", i, k)}, ""); err != nil {
					t.Errorf("a write at n%d: %v", i+1, err)
					return
				}
				mu.Lock()
				writes[i]++
				mu.Unlock()
			}
		})
	}
	// step changes the files of one coordinator after the other, and waits for writes in between.
	step := func(what string, change func(i int)) {
		t.Helper()
		for i, n := range nodes {
			change(i)
			n.Reload()
			mu.Lock()
			before := slices.Clone(writes)
			mu.Unlock()
			eventually(t, what+": writes go on at every coordinator", func() bool {
				mu.Lock()
				defer mu.Unlock()
				for k := range writes {
					if writes[k] < before[k]+10 {
						return t.Failed()
					}
				}
				return true
			})
		}
	}
	copyCA := func(i int) {
		text, err := os.ReadFile(filepath.Join(files.Dir, certfile.CAFile))
		must(t, err)
		must(t, durable.WriteText(certfile.In(dirs[i]).CA, text))
	}
	step("new certificates", issue)
	next, err := files.Begin()
	must(t, err)
	trusted()
	step("both authorities are trusted", copyCA)
	must(t, files.Switch())
	step("certificates of the new authority", issue)
	must(t, files.Finish())
	step("the new authority alone is trusted", copyCA)
	trusted()
	cancel()
	writers.Wait()
	for i, n := range nodes {
		leaf := servedLeaf(t, n.Addrs().Peer)
		if leaf.CheckSignatureFrom(next.Certificate()) != nil {
			t.Errorf("n%d shows a certificate of another authority", i+1)
		}
		if _, err := status(n.Addrs().HTTP, trusting(old)); err == nil {
			t.Errorf("n%d: who trusts the old authority alone is still served", i+1)
		}
	}
	t.Logf("%v writes", writes)
}
