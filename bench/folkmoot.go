package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// folkmootCluster is three coordinators, n1 to n3, with extra arguments for each, by its number.
func folkmootCluster(o options, dir, store string, extra func(i int) []string) (*cluster, error) {
	addrs, err := freeAddrs(15)
	if err != nil {
		return nil, err
	}
	c := &cluster{leaderOf: folkmootLeader, dial: dialREST, dialNative: dialNative}
	peers := addrs[12:]
	for i := range 3 {
		s := &server{name: fmt.Sprintf("n%d", i+1), bin: o.coordinator, addr: addrs[i], native: addrs[3+i], ops: addrs[6+i], leco: addrs[9+i]}
		s.args = []string{
			"serve", "--id", s.name, "--data-dir", filepath.Join(dir, s.name), "--log-level", "warn", "--log-store", store,
			"--http-addr", s.addr, "--component-addr", s.native, "--ops-addr", s.ops,
			"--peer-addr", peers[i], "--join", strings.Join(peers, ","), "--bootstrap-expect", "3",
		}
		if extra != nil {
			s.args = append(s.args, extra(i)...)
		}
		if o.leco {
			s.args = append(s.args, "--leco-addr", s.leco)
		}
		c.servers = append(c.servers, s)
	}
	return c, nil
}

// folkmootClient speaks HTTP/1.1 on one kept connection with as little work
// as it can, as a load generator should.
type folkmootClient struct {
	conn  net.Conn
	r     *bufio.Reader
	host  string
	token string

	buf, body []byte // used again
	answer    []byte // valid until the next request
	until     time.Time
}

func dialREST(ctx context.Context, s *server) (client, error) { return dialFolkmoot(ctx, s) }

func dialFolkmoot(ctx context.Context, s *server) (*folkmootClient, error) {
	conn, err := s.asks.dial(ctx, s.addr)
	if err != nil {
		return nil, err
	}
	return &folkmootClient{conn: conn, r: bufio.NewReaderSize(conn, 8<<10), host: s.addr, token: s.asks.token}, nil
}

func (f *folkmootClient) close() { f.conn.Close() }

func (f *folkmootClient) write(ctx context.Context, key, value string) error {
	return f.signIn(ctx, key, "1h", value)
}

// signIn signs a component in with a label.
func (f *folkmootClient) signIn(ctx context.Context, name, lease, label string) error {
	_, err := f.signedIn(ctx, name, lease, label)
	return err
}

func (f *folkmootClient) signedIn(ctx context.Context, name, lease, label string) (answer []byte, err error) {
	body := append(f.body[:0], `{"name":"`...) // nothing of it needs an escape
	for _, part := range [...]string{name, `","namespace":"`, namespace, `","lease":"`, lease, `","labels":{"v":"`, label, `"}}`} {
		body = append(body, part...)
	}
	f.body = body
	status, answer, err := f.do(ctx, "POST", "/v1/components", "", body)
	if err == nil && status != http.StatusCreated {
		err = &refused{status, string(answer)}
	}
	return answer, err
}

// enter is signIn for one who leaves again: it returns the session's secret.
func (f *folkmootClient) enter(ctx context.Context, name, lease, label string) (secret string, err error) {
	answer, err := f.signedIn(ctx, name, lease, label)
	if err != nil {
		return "", err
	}
	var in struct {
		Secret string `json:"secret"`
	}
	return in.Secret, json.Unmarshal(answer, &in)
}

// leave signs a component out.
func (f *folkmootClient) leave(ctx context.Context, name, secret string) error {
	status, answer, err := f.do(ctx, "DELETE", "/v1/components/"+namespace+"."+name, secret, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("sign-out: %d %s", status, answer)
	}
	return err
}

// refused is an answer that is not the one hoped for.
type refused struct {
	status int
	answer string
}

func (r *refused) Error() string { return fmt.Sprintf("sign-in: %d %s", r.status, r.answer) }

func (f *folkmootClient) read(ctx context.Context, key string, strict bool) error {
	how := "stale"
	if strict {
		how = "strict"
	}
	status, answer, err := f.do(ctx, "GET", "/v1/components/"+namespace+"."+key+"?consistency="+how, "", nil)
	if err != nil {
		return err
	}
	if status != 200 {
		return fmt.Errorf("read: %d %s", status, answer)
	}
	return nil
}

// do sends one request, for a session if its secret is given, and reads its answer.
func (f *folkmootClient) do(ctx context.Context, method, path, secret string, body []byte) (int, []byte, error) {
	if d, ok := ctx.Deadline(); ok && !d.Equal(f.until) {
		f.conn.SetDeadline(d)
		f.until = d
	}
	b := f.buf[:0]
	for _, part := range [...]string{method, " ", path, " HTTP/1.1\r\nHost: ", f.host, "\r\n"} {
		b = append(b, part...)
	}
	if f.token != "" {
		b = append(append(append(b, "Authorization: Bearer "...), f.token...), "\r\n"...)
	}
	if secret != "" {
		b = append(append(append(b, "X-Session: "...), secret...), "\r\n"...)
	}
	if body != nil {
		b = strconv.AppendInt(append(b, "Content-Type: application/json\r\nContent-Length: "...), int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(append(b, "\r\n"...), body...)
	f.buf = b
	if _, err := f.conn.Write(b); err != nil {
		return 0, nil, err
	}
	line, err := f.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, errors.New("not an HTTP answer")
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, nil, err
	}
	length := -1
	for {
		line, err := f.r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if k, v, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(k, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(v)); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return status, nil, errors.New("an answer without a length")
	}
	if cap(f.answer) < length {
		f.answer = make([]byte, length)
	}
	answer := f.answer[:length]
	_, err = io.ReadFull(f.r, answer)
	return status, answer, err
}

// namespace is the first coordinator's; all rows are in it.
const namespace = "n1"

var plain = &http.Client{Timeout: 2 * time.Second}

// folkmootLeader returns the leader's id as one coordinator sees it.
func folkmootLeader(ctx context.Context, addr string) (string, error) {
	st, err := folkmootStatus(ctx, addr)
	if err == nil && st.Leader == "" {
		err = fmt.Errorf("%s knows no leader", addr)
	}
	return st.Leader, err
}

type folkmootState struct {
	Leader        string `json:"leader"`
	LeaderChanges uint64 `json:"leader_changes"`
	Term          uint64 `json:"term"`
	LastIndex     uint64 `json:"last_index"`
	LastSnapshot  uint64 `json:"last_snapshot"`
	Components    int    `json:"components"`
	LocalSessions int    `json:"local_sessions"`
	HeapBytes     uint64 `json:"heap_bytes"`
}

func folkmootStatus(ctx context.Context, addr string) (folkmootState, error) {
	return askStatus(ctx, plain, "http://"+addr, "")
}

func askStatus(ctx context.Context, by *http.Client, base, token string) (st folkmootState, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", base+"/v1/status", nil)
	if err != nil {
		return st, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := by.Do(req)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return st, fmt.Errorf("status: %s", resp.Status)
	}
	return st, json.NewDecoder(resp.Body).Decode(&st)
}
