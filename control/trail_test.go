package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// testTrail is a trail in memory, with a disk that may be full.
type testTrail struct {
	mu     sync.Mutex
	events []audit.Event
	full   error
}

// Record implements control.Trail.
func (t *testTrail) Record(e audit.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

// Err implements control.Trail.
func (t *testTrail) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.full
}

func (t *testTrail) set(full error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.full = full
}

// Flush implements control.Trail.
func (t *testTrail) Flush(context.Context) error { return t.Err() }

// Read implements control.Trail.
func (t *testTrail) Read(uint64, int) (audit.Page, error) {
	return audit.Page{First: 1, Last: 1, Lines: []json.RawMessage{[]byte(`{"seq":1}`)}}, nil
}

// newest is the event that was recorded last.
func (t *testTrail) newest() audit.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 {
		return audit.Event{}
	}
	return t.events[len(t.events)-1]
}

// record starts all coordinators again, each with a trail.
func (w *testCluster) record() {
	w.t.Helper()
	w.trails = map[string]*testTrail{}
	synctest.Wait()
	for id, s := range w.nodes {
		w.trails[id] = &testTrail{}
		s.stop()
		w.start(id)
	}
	synctest.Wait()
}

var errFull = errors.New("no space left on device")

// While no record can be made, the trail itself is read, and what is not recorded anyway goes on; what needs admin or
// cluster:write does not.
func TestTrailIsReadWhileItCannotBeWritten(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.record()
		n1 := w.nodes["n1"]
		w.trails["n1"].set(errFull)
		_, _, err := n1.TokenByID(t.Context(), anyone, control.Read{}, "t_1")
		refused(t, err, wire.CodeUnavailable, "no space left")
		page, err := n1.Audit(t.Context(), anyone, 0, 10)
		noError(t, err)
		if len(page.Lines) != 1 {
			t.Errorf("read was %+v", page)
		}
		_, _, err = n1.AuditAnchors(t.Context(), anyone, control.Read{}, "")
		noError(t, err)
		at := control.Credentials{Remote: "10.0.0.7:1"}
		for method, what := range map[string]string{"record_components": "", "get_components": "", "add_nodes": "no space left", "shut_down": "no space left", "remove_expired_addresses": "no space left"} {
			err := n1.AuthorizeMethod(at, method)
			if what == "" {
				noError(t, err)
				continue
			}
			refused(t, err, wire.CodeUnavailable, what)
		}
	}, "n1")
}

// No certificate is signed by a join token, and none is used up, while no record of it can be made, where it is asked for and
// where the authority's key is.
func TestNoCertificateWithoutARecord(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.signWith(newAuthority(t))
		w.record()
		w.newestLevel()
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		made, err := n1.CreateJoinToken(t.Context(), present(control.Credentials{Remote: "10.0.0.7:1"}), wire.NewJoinToken{ID: "n4"}, "")
		noError(t, err)
		csr := certificateRequest(t, "host4")
		for full, asked := range map[string][]*testNode{"n1": {n1, n2}, "n2": {n2}} {
			w.trails[full].set(errFull)
			for _, at := range asked {
				_, err := at.joinBy(t, made.Token, csr)
				refused(t, err, wire.CodeUnavailable, "no space left")
			}
			w.trails[full].set(nil)
		}
		_, err = n2.joinBy(t, made.Token, csr)
		noError(t, err)
	}, "n1", "n2")
}

// A line about a job of a session names the job, also where there is none.
func TestTrailNamesJobsThatAreRefused(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.record()
		n1 := w.nodes["n1"]
		s := n1.signIn(t, "hand")
		for _, c := range []struct {
			method string
			params any
			target string
		}{
			{"jobs.cancel", map[string]string{"id": "j1"}, "j1"},
			{"jobs.cancel", []string{"j2", "enough"}, "j2"},
			{"jobs.forget", map[string]any{"id": "j3"}, "j3"},
			{"jobs.cancel", map[string]any{"id": "j4", "other": 1}, "j4"},
			{"jobs.submit", map[string]any{"id": "j5", "runtime": "sh"}, "j5"},
			{"jobs.forget", map[string]any{"id": 5}, ""},
			{"jobs.forget", []int{1, 2, 3}, ""},
			{"jobs.forget", nil, ""},
		} {
			_, err := n1.call(t, s.Secret, c.method, c.params)
			e := w.trails["n1"].newest()
			if err == nil || e.What != c.method || e.Target != c.target || e.Outcome != audit.Refused || e.Code != string(wire.CodeOf(err)) {
				t.Errorf("%s of %v: %v, recorded as %+v", c.method, c.params, err, e)
			}
		}
	}, "n1")
}
