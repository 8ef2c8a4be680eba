package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/wire"
)

// A trail that was to be compared and was not is not found well, whatever its lines say of themselves.
func TestAuditVerifyComparesNothing(t *testing.T) {
	for _, at := range []time.Time{time.Now(), time.Now().AddDate(-1, 0, 0), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)} {
		dir := t.TempDir()
		var c audit.Chain
		line := c.Append(nil, "n9", audit.Event{At: at, What: "POST /v1/jobs", Outcome: audit.Done})
		if err := os.WriteFile(filepath.Join(dir, "000001.jsonl"), line, 0o600); err != nil {
			t.Fatal(err)
		}
		list := wire.AuditAnchors{Anchors: []wire.AuditAnchor{}}
		f := coordinator(t, map[string]any{"GET /audit/anchors": &list})
		if code, out, errs := raftctl(t, nil, "audit", "verify", dir); code != 0 || errs != "" {
			t.Errorf("%v: the chain alone: %d %q %q", at, code, out, errs)
		}
		if code, out, errs := raftctl(t, f, "audit", "verify", dir); code != 1 || !strings.Contains(errs, "told nothing yet of this trail: repeat in a minute") {
			t.Errorf("%v: without anchors: %d %q %q", at, code, out, errs)
		}
		list.Anchors = append(list.Anchors, wire.AuditAnchor{Coordinator: "n9", ServerID: "n9/1", Seq: 1, Hash: c.Hash, Index: 7, At: at})
		if code, out, errs := raftctl(t, f, "audit", "verify", dir); code != 0 || !strings.Contains(out, "1 of them were compared") || errs != "" {
			t.Errorf("%v: with its anchor: %d %q %q", at, code, out, errs)
		}
		if asked := f.requests(); !strings.Contains(asked, "GET /v1/audit/anchors?coordinator=n9") {
			t.Errorf("asked was %s", asked)
		}
	}
}
