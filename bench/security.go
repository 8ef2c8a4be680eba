package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	sdk "github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// credentials are what a server asks of its clients.
type credentials struct {
	tls   *tls.Config // nil: plain text
	token string      // "": none
}

// dial connects to an address, by TLS if that is asked for.
func (c credentials) dial(ctx context.Context, addr string) (net.Conn, error) {
	if c.tls == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	return (&tls.Dialer{Config: c.tls}).DialContext(ctx, "tcp", addr)
}

// secured are systems by what they ask of clients, the first of which asks for nothing.
var secured = []string{"folkmoot", "folkmoot-tls", "folkmoot-tls-tokens"}

func theSecurity() measurement {
	m := measurement{
		name: "security", base: secured[0], systems: secured, run: security,
		help: "what TLS on every port and tokens cost: writes and strict reads by REST on kept connections, messages of 128 bytes by the product's Go client; " +
			"of the tokens all requests show one of -tokens, which may write and read",
	}
	for _, what := range []string{"write", "strict"} {
		m.sheets = append(m.sheets, sheet{what: "security " + what, title: what + " by REST", row: "clients", columns: inMillis, by: rate})
	}
	m.sheets = append(m.sheets, sheet{
		what: "security messages", title: "messages of 128 bytes between clients of two servers, received", row: "pairs", columns: []column{columnRate}, by: rate,
	})
	return m
}

// security measures the same of each system.
func security(ctx context.Context, o options, m measurement, dir string, res results) error {
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error {
		if system == "folkmoot-tls-tokens" {
			if err := c.handOutTokens(ctx, o.tokens); err != nil {
				return err
			}
		}
		for _, what := range []string{"write", "strict"} {
			for _, n := range o.clients {
				stop := o.profile(c, fmt.Sprintf("security-%s-%d", what, n))
				s, err := load(ctx, c, what, n, o.duration, o.spread)
				stop()
				if err != nil {
					return fmt.Errorf("%s with %d clients: %w", what, n, err)
				}
				res.add("security "+what, n, system, s)
				fmt.Fprintf(os.Stderr, "  %-7s %4d clients: %8.0f/s  p50 %6.2f ms  p99 %6.2f ms  errors %d\n", what, n, s.rate, s.p50, s.p99, s.errors)
			}
		}
		for _, pairs := range o.pairs {
			s, err := flood(ctx, c, pairs, 128, int64(max(1, o.messages/pairs)))
			if err != nil {
				return fmt.Errorf("messages of %d pairs: %w", pairs, err)
			}
			res.add("security messages", pairs, system, s)
			fmt.Fprintf(os.Stderr, "  messages %3d pairs: %9.0f/s received, %s\n", pairs, s.rate, s.note)
		}
		return nil
	})
}

// securedCluster is three coordinators with an authority of their own, and with a token
// file if tokens are asked for.
func securedCluster(o options, dir string, tokens bool) (*cluster, error) {
	trust, err := makeAuthority(dir)
	if err != nil {
		return nil, err
	}
	l := credentials{tls: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1"}}
	tokenFile := filepath.Join(dir, "token")
	if tokens {
		l.token = strings.Repeat("operator", 8)
		if err := os.WriteFile(tokenFile, []byte(l.token+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	c, err := folkmootCluster(o, dir, "bolt", func(i int) []string {
		args := []string{"--tls-dir", tlsDir(dir, i)}
		if tokens {
			args = append(args, "--token-file", tokenFile)
		}
		return args
	})
	if err != nil {
		return nil, err
	}
	for _, s := range c.servers {
		s.asks = l
	}
	by := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: l.tls}}
	c.leaderOf = func(ctx context.Context, addr string) (string, error) {
		st, err := askStatus(ctx, by, "https://"+addr, l.token)
		if err == nil && st.Leader == "" {
			err = fmt.Errorf("%s knows no leader", addr)
		}
		return st.Leader, err
	}
	return c, nil
}

func tlsDir(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("tls%d", i+1)) }

// makeAuthority gives each of three coordinators its directory with the authority's files.
func makeAuthority(dir string) (trust *x509.CertPool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ca := certfile.Authority{Dir: filepath.Join(dir, "ca")}
	if _, err := ca.Init("bench"); err != nil {
		return nil, err
	}
	trust = x509.NewCertPool()
	for i := range 3 {
		if err := os.CopyFS(tlsDir(dir, i), os.DirFS(ca.Dir)); err != nil {
			return nil, err
		}
		if err := os.Chmod(filepath.Join(tlsDir(dir, i), certfile.CAKeyFile), 0o600); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(ca.Dir, certfile.CAFile))
	if err == nil && !trust.AppendCertsFromPEM(text) {
		err = errors.New("the authority's file holds no certificate")
	}
	return trust, err
}

// handOutTokens makes n tokens, and has all clients show one of them.
func (c *cluster) handOutTokens(ctx context.Context, n int) error {
	var addrs []string
	for _, s := range c.servers {
		addrs = append(addrs, s.addr)
	}
	api, err := sdk.New(sdk.Config{Addrs: addrs, TLS: c.servers[0].asks.tls, Token: c.servers[0].asks.token})
	if err != nil {
		return err
	}
	defer api.Close()
	const makers = 16
	errs := make([]error, makers)
	secrets := make([]string, makers)
	var wg sync.WaitGroup
	for m := range makers {
		wg.Go(func() {
			for k := m; k < n && errs[m] == nil; k += makers {
				var t wire.Token
				t, _, errs[m] = api.CreateToken(ctx, wire.NewToken{Name: fmt.Sprint("t", k), Grants: []string{"write@*", "read@*", "cluster:read"}})
				secrets[m] = t.Token
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	for _, s := range c.servers {
		s.asks.token = secrets[0]
	}
	return nil
}
