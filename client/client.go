package client

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultAddr is the address of a coordinator without settings.
const DefaultAddr = "127.0.0.1:" + DefaultPort

// DefaultPort is that of REST, for addresses that name no port.
const DefaultPort = "7380"

// Defaults of Config.
const (
	DefaultTimeout = 30 * time.Second
	DefaultAttempt = 10 * time.Second
	dialTimeout    = 2 * time.Second
	streamIdle     = 45 * time.Second
)

// Config says which coordinators to ask and how.
type Config struct {
	// Addrs are coordinators, tried in turn: host, host:port or a URL without a path. A host alone has DefaultPort, a URL
	// the port of its scheme. Default: DefaultAddr.
	Addrs []string
	// Token, if not empty, is sent as bearer token.
	Token string
	// TokenFile, if not empty, is the file that holds the token: its first line that is no comment. It is read again now
	// and then, so that a token can be replaced. Token must be empty then.
	TokenFile string
	// TLS, if not nil, makes https the scheme of addresses that name none. LoadTLS builds one from files.
	TLS *tls.Config
	// Timeout bounds one call over all addresses where the caller's context has no deadline; streams are not bounded by
	// it.
	Timeout time.Duration
	// Attempt bounds one attempt at one address, so that a coordinator that hangs costs no more than this.
	Attempt time.Duration
	// Silent ends a call, or a sign-in of Dial, after that many rounds in which no address answered at all, even before
	// its deadline; 0 is no limit. A person waiting wants to hear soon that nobody is there.
	Silent int
	// HTTPClient replaces the client's own connections; its Timeout must be 0, since it would cut streams off.
	HTTPClient *http.Client
	// UserAgent is sent with every request; default "folkmoot-client".
	UserAgent string
}

// Client asks coordinators. It is safe for concurrent use and keeps connections open until Close.
type Client struct {
	cfg    Config
	http   *http.Client
	addrs  *addrList
	tokens *tokenSource
	owned  *http.Transport // nil when the caller brought the HTTP client
	last   *atomic.Pointer[CallError]
}

// New checks cfg; it connects to nobody yet.
func New(cfg Config) (*Client, error) {
	if len(cfg.Addrs) == 0 {
		cfg.Addrs = []string{DefaultAddr}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Attempt <= 0 {
		cfg.Attempt = DefaultAttempt
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "folkmoot-client"
	}
	c := &Client{cfg: cfg, http: cfg.HTTPClient, last: &atomic.Pointer[CallError]{}}
	var err error
	if c.tokens, err = newTokenSource(cfg.Token, cfg.TokenFile); err != nil {
		return nil, fmt.Errorf("token file: %w", err)
	}
	bases := make([]string, 0, len(cfg.Addrs))
	for _, a := range cfg.Addrs {
		base, err := baseURL(a, cfg.TLS != nil)
		if err != nil {
			return nil, err
		}
		bases = append(bases, base)
	}
	c.addrs = newAddrList(bases)
	if c.http == nil {
		c.owned = &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{
				Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
			}}).DialContext,
			TLSClientConfig:     cfg.TLS,
			TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConns:        256,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     90 * time.Second,
			Proxy:               http.ProxyFromEnvironment,
		}
		c.http = &http.Client{Transport: c.owned}
	}
	return c, nil
}

// Close drops idle connections; calls under way end by their own contexts.
func (c *Client) Close() {
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
}

// LastFailure is the last attempt at a coordinator that failed, nil if one has succeeded since or there was none. It
// says why a call that is still going on takes long.
func (c *Client) LastFailure() error {
	if ce := c.last.Load(); ce != nil {
		return ce
	}
	return nil
}

// Addrs are the coordinators in the order in which they would be tried now, as base URLs.
func (c *Client) Addrs() []string { return c.addrs.order() }

func baseURL(addr string, secure bool) (string, error) {
	a := strings.TrimSpace(addr)
	if !strings.HasSuffix(a, "//") {
		a = strings.TrimSuffix(a, "/")
	}
	if !strings.Contains(a, "://") {
		a = withPort(a)
		if secure {
			a = "https://" + a
		} else {
			a = "http://" + a
		}
	}
	u, err := url.Parse(a)
	switch {
	case err != nil:
		return "", fmt.Errorf("address %q: %w", addr, err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Path != "", u.RawQuery != "":
		return "", fmt.Errorf("address %q: want host:port or http(s)://host:port", addr)
	}
	return a, nil
}

// withPort is an address with DefaultPort if it names none.
func withPort(a string) string {
	if _, _, err := net.SplitHostPort(a); err == nil || a == "" || strings.ContainsAny(a, "/?#@ ") {
		return a
	}
	host := strings.Trim(a, "[]")
	if strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return a // too many colons, and no IPv6 address
	}
	return net.JoinHostPort(host, DefaultPort)
}

// SplitAddrs reads a comma list of addresses; blanks and empty ones are dropped.
func SplitAddrs(list string) []string {
	var out []string
	for a := range strings.SplitSeq(list, ",") {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}

// LoadTLS builds a client configuration from PEM files: ca to trust instead of the system's, cert and key to show.
// All empty gives nil, which is plain HTTP.
func LoadTLS(ca, cert, key string) (*tls.Config, error) {
	if ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA %s: holds no PEM certificate", ca)
		}
	}
	if cert != "" || key != "" {
		if cert == "" || key == "" {
			return nil, errors.New("a client certificate needs both a certificate and a key")
		}
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		// Read anew at every handshake: certificates are renewed in place.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
	}
	return cfg, nil
}

// NewKey mints an idempotency key: 32 hex digits nobody else has.
func NewKey() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
