package httpapi_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/wire"
)

// The whole state is one file; what breaks off is no whole answer.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	d := serve(t)
	long := strings.Repeat("0123456789abcdef", 40_000)
	d.fake.snapshot = func(_ context.Context, w io.Writer) error {
		for piece := long; piece != ""; {
			n, err := io.WriteString(w, piece[:min(len(piece), 1000)])
			if err != nil {
				return err
			}
			piece = piece[n:]
		}
		return nil
	}
	a := d.do("GET", "/v1/snapshot", "").wantStatus(200)
	if a.body != long || a.header.Get("Content-Type") != "application/gzip" || a.header.Get("X-Consistency") != "strict" {
		t.Errorf("%d bytes with %v", len(a.body), a.header)
	}
	d.do("HEAD", "/v1/snapshot", "").wantStatus(200)
	d.do("GET", "/v1/snapshot?index=3", "").wantProblem(400, wire.CodeInvalid, "index")
	d.fake.refusal = wire.NotTried("no leader")
	d.do("GET", "/v1/snapshot", "").wantProblem(503, wire.CodeUnavailable, "")

	d.fake.snapshot = func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, long)
		return errors.Join(err, errors.New("the disk of the state is gone"))
	}
	rs, err := d.client.Get("http://" + d.addr + "/v1/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Body.Close()
	if got, err := io.ReadAll(rs.Body); err == nil {
		t.Errorf("%d bytes, and no error: a piece is taken for the whole", len(got))
	}
}

// An answer that was broken off is in the audit trail, and counted: a piece of it is with the caller.
func TestBrokenOffIsRecorded(t *testing.T) {
	t.Parallel()
	events := make(chan audit.Event, 9)
	d := serve(t, func(c *httpapi.Config) { c.Audit = func(e audit.Event) { events <- e } })
	d.fake.snapshot = func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("0123456789abcdef", 40_000))
		return errors.Join(err, errors.New("the disk of the state is gone"))
	}
	rs, err := d.client.Get("http://" + d.addr + "/v1/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Body.Close()
	if _, err := io.ReadAll(rs.Body); err == nil {
		t.Error("the answer is whole")
	}
	select {
	case e := <-events:
		if e.What != "GET /v1/snapshot" || e.Outcome != audit.Unknown || e.RequestID == "" {
			t.Errorf("recorded is %+v", e)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing is recorded")
	}
	for end := time.Now().Add(time.Minute); requests(t, d.api, "GET", "/v1/snapshot", "2xx") != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not counted")
		}
	}
}

// requests is how many requests were counted.
func requests(t *testing.T, api *httpapi.API, method, route, status string) float64 {
	t.Helper()
	families, err := api.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if f.GetName() == "folkmoot_http_requests_total" && labels["method"] == method && labels["route"] == route && labels["status"] == status {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// A snapshot is restored over a cluster that is named, and read only then.
func TestRestore(t *testing.T) {
	t.Parallel()
	d := serve(t)
	put := func(query, kind, body string) answer {
		t.Helper()
		return d.do("PUT", "/v1/snapshot"+query, body, "Content-Type", kind, "Idempotency-Key", "0123456789abcdef")
	}
	var done wire.Restored
	put("?cluster=c1&foreign", "application/gzip", "bytes").wantStatus(200).decode(&done)
	if want := (wire.Restored{Cluster: "c1", FileCluster: "true0123456789abcdef", FileIndex: 812, Rows: 5, Index: 9}); done != want {
		t.Errorf("restored %+v, want %+v", done, want)
	}
	put("", "application/gzip", "bytes").wantProblem(400, wire.CodeInvalid, "cluster")
	put("?cluster=c1&foreign=perhaps", "application/gzip", "bytes").wantProblem(400, wire.CodeInvalid, "foreign")
	put("?cluster=c1", "application/json", "{}").wantProblem(415, wire.CodeInvalid, "")
	d.fake.refusal = wire.Refuse(wire.CodeConflict, "the snapshot is of cluster c2, this is cluster c1")
	put("?cluster=c1", "application/gzip", "bytes").wantProblem(409, wire.CodeConflict, "")
}
