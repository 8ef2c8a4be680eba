package httpapi_test

import (
	"errors"
	"io"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// What a coordinator knows of itself is one file; what breaks off is no whole answer.
func TestDebugBundle(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for query, want := range map[string]string{
		"": "0s", "?cpu=1500ms": "1.5s", "?cpu=10": "10s", "?cpu=1h": "30s",
	} {
		a := d.do("GET", "/v1/debug/bundle"+query, "").wantStatus(200)
		if a.body != "a bundle with "+want+" of the processor" || a.header.Get("Content-Type") != "application/gzip" {
			t.Errorf("%s: %q with %v", query, a.body, a.header)
		}
	}
	d.do("GET", "/v1/debug/bundle?cpu=soon", "").wantProblem(400, wire.CodeInvalid, "cpu")
	d.do("HEAD", "/v1/debug/bundle", "").wantStatus(405)

	d.fake.mu.Lock()
	d.fake.debugBreaks = errors.New("the disk is gone")
	d.fake.mu.Unlock()
	rs, err := d.client.Get("http://" + d.addr + "/v1/debug/bundle")
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Body.Close()
	if got, err := io.ReadAll(rs.Body); err == nil {
		t.Errorf("%q, and no error: a piece is taken for the whole", got)
	}

	d.fake.mu.Lock()
	d.fake.refusal = wire.Refuse(wire.CodeBusy, "one at a time")
	d.fake.mu.Unlock()
	d.do("GET", "/v1/debug/bundle", "").wantProblem(429, wire.CodeBusy, "")
}
