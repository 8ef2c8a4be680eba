package httpapi

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/control"
)

// Values of headers, made once. They are shared: nobody may append to them.
var (
	nosniff     = []string{"nosniff"}
	typeJSON    = []string{"application/json"}
	typeProblem = []string{"application/problem+json"}
	typeNDJSON  = []string{"application/x-ndjson"}
	typeText    = []string{"text/plain; charset=utf-8"}
	typeSSE     = []string{"text/event-stream"}
	noStore     = []string{"no-store"}
	noBuffering = []string{"no"}
	zero        = []string{"0"}
	nobody      = []string{""}
	strengths   = map[string][]string{"stale": {"stale"}, "default": {"default"}, "strict": {"strict"}}
)

// writeStrength is what X-Consistency says of a write: it is answered from the
// log itself.
const writeStrength = "strict"

// freshHeaders keeps the last values told, since most answers tell the same.
type freshHeaders struct {
	cluster atomic.Pointer[[]string]
	leader  atomic.Pointer[[]string]
	index   atomic.Pointer[indexHeader]
}

type indexHeader struct {
	index uint64
	value []string
}

// write sets the headers that every answer carries, but for X-Cluster and
// X-Stale-Ms where they are not known. cluster is "" while this coordinator does
// not know its cluster's id.
func (c *freshHeaders) write(h http.Header, f control.Fresh, cluster string) {
	if cluster != "" {
		known := c.cluster.Load()
		if known == nil || (*known)[0] != cluster {
			known = &[]string{cluster}
			c.cluster.Store(known)
		}
		h["X-Cluster"] = *known
	}
	last := c.index.Load()
	if last == nil || last.index != f.Index {
		last = &indexHeader{f.Index, []string{strconv.FormatUint(f.Index, 10)}}
		c.index.Store(last)
	}
	h["X-Index"] = last.value
	leader := nobody
	if f.Leader != "" {
		if known := c.leader.Load(); known != nil && (*known)[0] == f.Leader {
			leader = *known
		} else {
			leader = []string{f.Leader}
			c.leader.Store(&leader)
		}
	}
	h["X-Leader"] = leader
	strength := strengths[f.Consistency]
	if strength == nil {
		strength = strengths["default"]
	}
	h["X-Consistency"] = strength
	switch {
	case f.StaleMs == 0:
		h["X-Stale-Ms"] = zero
	case f.StaleMs > 0: // else it is not known
		h["X-Stale-Ms"] = []string{strconv.FormatInt(f.StaleMs, 10)}
	}
}

func (rq *request) fresh(f control.Fresh) {
	rq.told = true
	rq.api.fresh.write(rq.w.Header(), f, rq.api.control.Cluster())
}

// readFrom sets the headers of a read whether it succeeded or not.
func (rq *request) readFrom(f control.Fresh, err error) error {
	if err == nil || f.Index > 0 {
		rq.fresh(f)
	}
	return err
}

// wrote sets the headers of a write at index; 0 is a call that wrote nothing.
func (rq *request) wrote(index uint64) {
	if index == 0 {
		rq.fresh(rq.api.control.Now())
		return
	}
	rq.fresh(control.Fresh{Index: index, Leader: rq.api.control.Leads(), Consistency: writeStrength})
}

// json answers v.
func (rq *request) json(status int, v any) error {
	enc := json.NewEncoder(&rq.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		rq.out.Reset()
		return err
	}
	return rq.send(status)
}

// send answers what is in out as JSON. The handler may have written other
// headers before.
func (rq *request) send(status int) error {
	h := rq.w.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = noStore
	if !rq.told {
		rq.fresh(rq.api.control.Now())
	}
	if rq.out.Len() > 2000 { // smaller ones are counted by net/http itself
		h["Content-Length"] = []string{strconv.Itoa(rq.out.Len())}
	}
	rq.w.WriteHeader(status)
	_, _ = rq.w.Write(rq.out.Bytes()) // the caller is gone: nobody to tell
	return nil
}

// requestIDs names requests: a random beginning for this process and a number.
type requestIDs struct {
	process string
	last    *atomic.Uint64
}

func newRequestIDs() requestIDs {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return requestIDs{hex.EncodeToString(b[:]) + "-", new(atomic.Uint64)}
}

// name sets X-Request-Id: the caller's own if it is 1 to 128 plain characters,
// so that it can find its request in several logs, else a new one.
func (ids requestIDs) name(h http.Header, r *http.Request) {
	if given := r.Header["X-Request-Id"]; len(given) == 1 && saneID(given[0]) {
		h["X-Request-Id"] = given
		return
	}
	b := make([]byte, 0, 32)
	b = append(b, ids.process...)
	b = strconv.AppendUint(b, ids.last.Add(1), 36)
	h["X-Request-Id"] = []string{string(b)}
}

func saneID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' && c != ':' {
			return false
		}
	}
	return true
}
