package client

import (
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Meta is what every answer says about itself.
type Meta struct {
	Index       uint64 // of the state it was read from or written at
	Leader      string // id of the leader as the answering coordinator sees it
	Consistency string // stale, default or strict
	StaleMs     int64  // bound on the age of what was read: so long before it was read it certainly was the newest; -1: not known
	Cluster     string // id of the cluster that Index is of; "" while it has none
	Addr        string // base URL of the coordinator that answered
	Filtered    bool   // rows that the token may not read were, or would have been, left out
	Body        []byte // the answer as it came
}

func metaOf(h http.Header, addr string) Meta {
	m := Meta{Leader: h.Get("X-Leader"), Consistency: h.Get("X-Consistency"), Cluster: h.Get("X-Cluster"), Filtered: h.Get("X-Filtered") == "true", Addr: addr}
	m.Index, _ = strconv.ParseUint(h.Get("X-Index"), 10, 64)
	var err error
	if m.StaleMs, err = strconv.ParseInt(h.Get("X-Stale-Ms"), 10, 64); err != nil || m.StaleMs < 0 {
		m.StaleMs = -1
	}
	return m
}

// Read is how fresh an answer must be. The zero value is a default read, now.
type Read struct {
	Consistency string        // stale, default or strict
	Index       uint64        // the answer is at least as new; with Wait, what was seen: a Meta.Index of before
	Wait        time.Duration // how long to block at most until what is read has changed after Index
	Cluster     string        // the Meta.Cluster that Index came with: an index of another cluster asks for nothing
}

func (r Read) into(q url.Values) url.Values {
	if r.Consistency != "" {
		q.Set("consistency", r.Consistency)
	}
	if r.Index > 0 {
		q.Set("index", strconv.FormatUint(r.Index, 10))
		set(q, "cluster", r.Cluster)
	}
	if r.Wait > 0 {
		q.Set("wait", r.Wait.String())
	}
	return q
}

// Page asks for a part of a list: at most Limit rows after the one named.
type Page struct {
	Limit int
	After string
}

func (p Page) into(q url.Values) url.Values {
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.After != "" {
		q.Set("after", p.After)
	}
	return q
}

func set(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}
