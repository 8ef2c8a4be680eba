package node_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/audit/trail"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// marked stands in every secret and body of the tests of the trail: none of it may be in a line.
const marked = "MARKED-0123456789-0123456789-0123456789"

// trailLines reads the whole trail from its files.
func trailLines(t *testing.T, dir string) (all []audit.Line, raw string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
		l, err := audit.ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all, string(b)
}

// What is asked for at the doors is in the trail: writes, refusals, sign-ins, what only an administrator reads;
// heartbeats, messages and other reads are not. No secret and no body is in any line.
func TestTrailHasWhatWasAskedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	n, stop := start(t, node.Config{ID: "n1", DataDir: t.TempDir(), AuditDir: dir, TokenFile: tokenFile(t, marked)})
	ready(t, n)
	rest := restOf(t, n)
	want := func(what string, got int, body string, status int) {
		t.Helper()
		if got != status {
			t.Errorf("%s: %d %s, want %d", what, got, body, status)
		}
	}
	do := func(status int, method, path, token, body string, header ...string) string {
		t.Helper()
		got, answer := rest.do(method, path, token, body, header...)
		want(method+" "+path, got, answer, status)
		return answer
	}
	signedIn := do(201, "POST", "/components", marked, `{"name":"laser","labels":{"note":"`+marked+`"}}`, "X-Request-Id", "req-1", "Idempotency-Key", marked)
	_, after, _ := strings.Cut(signedIn, `"secret":"`)
	secret, _, _ := strings.Cut(after, `"`)
	if secret == "" {
		t.Fatalf("no secret in %s", signedIn)
	}
	do(200, "PUT", "/components/n1.laser/heartbeat", marked, "", "X-Session", secret)
	do(403, "PUT", "/components/n1.laser/heartbeat", marked, "", "X-Session", strings.Split(secret, ".")[0]+"."+strings.Repeat("A", 43))
	do(200, "GET", "/components", marked, "")
	for range 5 {
		do(401, "GET", "/components", "wrong-"+marked, "")
	}
	do(401, "GET", "/"+marked, "wrong-"+marked, "")
	do(401, "DELETE", "/components/"+marked, "", "")
	do(409, "POST", "/components", marked, `{"name":"laser"}`)
	do(202, "POST", "/jobs", marked, `{"runtime":"sh","script":"echo `+marked+`","items":[1],"id":"job-1"}`)
	do(200, "DELETE", "/jobs/job-1?reason="+marked, marked, "")
	do(200, "POST", "/messages", marked, `{"to":"n1.laser","payload":["`+base64.StdEncoding.EncodeToString([]byte(marked))+`"]}`, "X-Session", secret)
	do(200, "DELETE", "/components/n1.laser", marked, "", "X-Session", secret)
	made := do(201, "POST", "/tokens", marked, `{"name":"ops","grants":["jobs:read@lab1","jobs:write@lab1"]}`)
	_, after, _ = strings.Cut(made, `"token":"`)
	token, _, _ := strings.Cut(after, `"`)
	do(202, "POST", "/jobs", token, `{"runtime":"sh","script":"true","items":[1],"id":"job-2","namespace":"lab1"}`)
	do(403, "POST", "/jobs", token, `{"runtime":"sh","script":"true","items":[1],"id":"job-3"}`)
	do(404, "GET", "/jobs/job-1", token, "")
	do(404, "GET", "/jobs/none", token, "")
	do(404, "DELETE", "/tokens/"+token, marked, "")
	do(404, "DELETE", "/tokens/"+marked, marked, "")
	do(400, "POST", "/jobs?token="+token, token, `{}`)
	do(200, "GET", "/tokens", marked, "")
	do(409, "POST", "/tokens/join", marked, `{"id":"n4"}`)

	c := clientOf(t, marked, n)
	first, meta, err := c.Audit(t.Context(), 0, 1)
	if err != nil || first.Coordinator != "n1" || len(first.Lines) != 1 || first.Next != 1 || first.Last < 9 {
		t.Fatalf("the trail over REST: %+v, %v", first, err)
	}
	if meta.Index == 0 {
		t.Error("the answer has no index")
	}
	stop()
	if _, err := trail.Verify(dir, nil); err != nil {
		t.Fatal(err)
	}
	all, raw := trailLines(t, dir)
	if strings.Contains(raw, "MARKED") || strings.Contains(raw, secret) || strings.Contains(raw, token[4:]) {
		t.Errorf("a secret or a body is in the trail:\n%s", raw)
	}
	session, _, _ := strings.Cut(secret, ".")
	for _, w := range []audit.Line{
		{What: "POST /v1/components", Target: "n1.laser", Outcome: "done", RequestID: "req-1", Who: audit.Who{Session: session}},
		{What: "PUT /v1/components/:full/heartbeat", Outcome: "refused", Code: "forbidden"}, // another session's secret
		{What: "GET /v1/components", Outcome: "refused", Code: "unauthorized", Times: 5},
		{What: "GET /v1/...", Outcome: "refused", Code: "unauthorized"},
		{What: "DELETE /v1/components/:full", Outcome: "refused", Code: "unauthorized"},
		{What: "POST /v1/components", Target: "laser", Outcome: "refused", Code: "name_taken"},
		{What: "POST /v1/jobs", Target: "job-1", Outcome: "done"},
		{What: "DELETE /v1/jobs/:id", Target: "job-1", Outcome: "done"},
		{What: "DELETE /v1/components/:full", Target: "n1.laser", Outcome: "done"},
		{What: "GET /v1/audit", Outcome: "done"},
		{What: "POST /v1/tokens", Outcome: "done", Who: audit.Who{Name: "token file"}},
		{What: "POST /v1/jobs", Target: "job-2", Outcome: "done", Who: audit.Who{Name: "ops"}},
		{What: "POST /v1/jobs", Target: "job-3", Outcome: "refused", Code: "forbidden", Needs: "jobs:write@default", Who: audit.Who{Name: "ops"}},
		{What: "GET /v1/jobs/:id", Target: "job-1", Outcome: "refused", Code: "not_found", Needs: "jobs:read@default", Who: audit.Who{Name: "ops"}},
		{What: "POST /v1/tokens/join", Target: "n4", Outcome: "refused", Code: "conflict"},
		{What: "GET /v1/tokens", Outcome: "done", Who: audit.Who{Name: "token file"}},
	} {
		found := 0
		for _, l := range all {
			if l.What == w.What && l.Outcome == w.Outcome && l.Code == w.Code && l.Times == w.Times && (w.Target == "" || l.Target == w.Target) &&
				(w.RequestID == "" || l.RequestID == w.RequestID) && (w.Who.Session == "" || l.Who.Session == w.Who.Session) &&
				l.Needs == w.Needs && (w.Who.Name == "" || l.Who.Name == w.Who.Name && l.Who.Token != "") {
				found++
				if l.Door != "http" || l.Who.Remote == "" || l.Coordinator != "n1" || (l.Index == 0) != (l.Outcome != "done" || strings.HasPrefix(l.What, "GET")) {
					t.Errorf("%+v", l)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d lines like %+v in\n%s", found, w, raw)
		}
	}
	for _, l := range all {
		if strings.Contains(l.Target, "none") {
			t.Errorf("a read of what is not there is in the trail: %+v", l)
		}
		if l.Outcome == "done" && (strings.Contains(l.What, "heartbeat") || strings.Contains(l.What, "messages")) {
			t.Errorf("a routine request is in the trail: %+v", l)
		}
	}
}

// Native sign-ins, and jobs that sessions hand in, are in the trail as well.
func TestTrailHasNativeSessions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	n, stop := start(t, node.Config{ID: "n1", DataDir: t.TempDir(), AuditDir: dir, TokenFile: tokenFile(t, marked)})
	ready(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	connect := func(name, token string) (*client.Session, error) {
		return client.Dial(ctx, client.Component{Addrs: []string{n.Addrs().Component}, Token: token, SignIn: wire.SignIn{Name: name}})
	}
	if s, err := connect("thief", "wrong-"+marked); err == nil {
		s.Close(ctx)
		t.Error("a wrong token was let in")
	}
	s, err := connect("laser", marked)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(ctx, wire.SubmitJob{Runtime: "sh", Script: marked, ID: "job-1", Items: rawItems("1")}); err != nil {
		t.Errorf("submit: %v", err)
	}
	s.Close(ctx)
	stop()
	all, raw := trailLines(t, dir)
	if strings.Contains(raw, "MARKED") {
		t.Errorf("a secret or a body is in the trail:\n%s", raw)
	}
	for _, w := range []audit.Line{
		{What: "sign_in", Outcome: "refused", Code: "unauthorized"}, // without a target, which anybody can make up
		{What: "sign_in", Target: "n1.laser", Outcome: "done"},
		{What: "jobs.submit", Target: "job-1", Outcome: "done"},
	} {
		found := false
		for _, l := range all {
			found = found || l.What == w.What && l.Outcome == w.Outcome && l.Code == w.Code && l.Target == w.Target &&
				l.Door == "native" && (l.Index > 0) == (w.Outcome == "done")
		}
		if !found {
			t.Errorf("no line like %+v in\n%s", w, raw)
		}
	}
}

// hasLines checks that each of these lines is in a trail once, and says from where it was asked, and of a write where
// in the log that is; in wrote is what of it writes.
func hasLines(t *testing.T, all []audit.Line, wrote []string, want ...audit.Line) {
	t.Helper()
	for _, w := range want {
		found := 0
		for _, l := range all {
			if l.Door != w.Door || l.What != w.What || l.Target != w.Target || l.Outcome != w.Outcome || l.Code != w.Code || l.Needs != w.Needs || l.Who.Name != w.Who.Name {
				continue
			}
			found++
			if l.Who.Remote == "" || (l.Index > 0) != (w.Outcome == "done" && slices.Contains(wrote, w.What)) {
				t.Errorf("%+v", l)
			}
		}
		if found != 1 {
			t.Errorf("%d lines like %+v in %+v", found, w, all)
		}
	}
}

// What comes over LECO, which has no place for tokens, and over WebSockets is in the trail, under the name of the door.
func TestTrailHasLECOAndWebSockets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	n, stop := start(t, node.Config{ID: "n1", DataDir: t.TempDir(), AuditDir: dir, TokenFile: tokenFile(t, marked), LECOAddr: "127.0.0.1:0"})
	ready(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	robot := dealAs(t, n.Addrs().LECO, "robot")
	robot.signIn(clientOf(t, marked, n))
	laser, err := dialAt(ctx, n.Addrs(), "ws", marked, wire.SignIn{Name: "laser"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := laser.Submit(ctx, wire.SubmitJob{ID: "job-1", Runtime: "sh", Script: marked, Items: rawItems("1")}); err != nil {
		t.Errorf("submit over a WebSocket: %v", err)
	}
	for by, code := range map[string]wire.Code{marked: wire.CodeNameTaken, "wrong-" + marked: wire.CodeUnauthorized} {
		if again, err := dialAt(ctx, n.Addrs(), "ws", by, wire.SignIn{Name: "laser"}); wire.CodeOf(err) != code {
			t.Errorf("sign in again over a WebSocket: %v, want %s", err, code)
			if err == nil {
				again.Close(ctx)
			}
		}
	}
	for _, asked := range []struct {
		method, params string
		code           wire.Code
	}{
		{"set_log_level", `{"level":"DEBUG"}`, wire.CodeForbidden},
		{"jobs.submit", `{"id":"job-2","runtime":"sh","script":"` + marked + `","items":[1]}`, wire.CodeForbidden},
		{"send_local_components", `{}`, ""},
		{"pong", `{}`, ""},
	} {
		if got := robot.ask(asked.method, asked.params); got != asked.code {
			t.Errorf("%s over LECO: got %q, want %q", asked.method, got, asked.code)
		}
	}
	if got := dealAs(t, n.Addrs().LECO, "laser").ask("sign_in", `{}`); got == "" {
		t.Error("a name was given twice")
	}
	laser.Close(ctx)
	stop()
	all, raw := trailLines(t, dir)
	if strings.Contains(raw, "MARKED") || strings.Contains(raw, "pong") || strings.Contains(raw, "send_local") {
		t.Errorf("a secret, a body or a routine request is in the trail:\n%s", raw)
	}
	robots, file := audit.Who{Name: "n1.robot"}, audit.Who{Name: "token file"}
	hasLines(t, all, []string{"sign_in", "jobs.submit"},
		audit.Line{Door: "leco", What: "sign_in", Target: "n1.robot", Outcome: "done", Who: robots},
		audit.Line{Door: "leco", What: "sign_in", Target: "n1.laser", Outcome: "refused", Code: "name_taken", Who: audit.Who{Name: "n1.laser"}},
		audit.Line{Door: "leco", What: "set_log_level", Outcome: "refused", Code: "forbidden", Needs: "cluster:write", Who: robots},
		audit.Line{Door: "leco", What: "jobs.submit", Target: "job-2", Outcome: "refused", Code: "forbidden", Needs: "jobs:write@default", Who: robots},
		audit.Line{Door: "ws", What: "sign_in", Target: "n1.laser", Outcome: "done", Who: file},
		audit.Line{Door: "ws", What: "jobs.submit", Target: "job-1", Outcome: "done", Who: file},
		audit.Line{Door: "ws", What: "sign_in", Target: "laser", Outcome: "refused", Code: "name_taken", Who: file},
		audit.Line{Door: "http", What: "GET /v1/session", Outcome: "refused", Code: "unauthorized"},
	)
}

// Where no tokens are asked for, what a component does over LECO is in the trail as done, also that it stops the
// coordinator.
func TestTrailHasWhatLECOMayDo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	n, stop := start(t, node.Config{ID: "n1", DataDir: t.TempDir(), AuditDir: dir, LECOAddr: "127.0.0.1:0"})
	ready(t, n)
	robot := dealAs(t, n.Addrs().LECO, "robot")
	robot.signIn(clientOf(t, "", n))
	for method, params := range map[string]string{"set_log_level": `{"level":"INFO"}`, "jobs.submit": `{"id":"job-1","runtime":"sh","script":"true","items":[1]}`} {
		if refused := robot.ask(method, params); refused != "" {
			t.Errorf("%s: %s", method, refused)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := robot.conn.SendWait(ctx, []byte{0}, []byte("COORDINATOR"), []byte("robot"), []byte("conversationlast\x00\x00\x00\x01"), []byte(`{"id":1,"method":"shut_down","jsonrpc":"2.0"}`))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the coordinator stops", func() bool { return !n.Ready() })
	stop()
	all, _ := trailLines(t, dir)
	robots := audit.Who{Name: "n1.robot"}
	hasLines(t, all, []string{"sign_in", "jobs.submit"},
		audit.Line{Door: "leco", What: "sign_in", Target: "n1.robot", Outcome: "done", Who: robots},
		audit.Line{Door: "leco", What: "set_log_level", Outcome: "done", Who: robots},
		audit.Line{Door: "leco", What: "jobs.submit", Target: "job-1", Outcome: "done", Who: robots},
		audit.Line{Door: "leco", What: "shut_down", Outcome: "done", Who: robots},
	)
}

// While nothing can be recorded, jobs and what needs admin or cluster:write are refused, and the rest goes on; it mends
// itself.
func TestNothingIsRecorded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir(), AuditDir: dir})
	ready(t, n)
	rest := restOf(t, n)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // what the writer mends must not be possible
		t.Fatal(err)
	}
	submitted := func(status int) (answer string) {
		t.Helper()
		eventually(t, fmt.Sprintf("a job is answered %d", status), func() bool {
			var got int
			got, answer = rest.do("POST", "/jobs", "", `{"runtime":"sh","script":"true","items":[1]}`)
			return got == status
		})
		return answer
	}
	if got, answer := rest.do("POST", "/components", "", `{"name":"laser","lease":"1h"}`); got != 201 {
		t.Fatalf("sign-in: %d %s", got, answer)
	}
	if answer := submitted(503); !strings.Contains(answer, `"code":"unavailable"`) || !strings.Contains(answer, "audit trail of n1") {
		t.Errorf("a job: %s", answer)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/audit", "", 500}, // it is gone
		{"GET", "/audit/anchors", "", 200},
		{"GET", "/tokens", "", 503},
		{"POST", "/leader/transfer", "", 503},
		{"DELETE", "/components/n1.laser", "", 503},
		{"GET", "/components", "", 200},
		{"GET", "/status", "", 200},
		{"GET", "/namespaces", "", 200},
		{"POST", "/components", `{"name":"other"}`, 201},
	} {
		if got, answer := rest.do(c.method, c.path, "", c.body); got != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, got, answer, c.status)
		}
	}
	if got := metric(t, n, "folkmoot_audit_failures_total "); len(got) != 1 || strings.HasSuffix(got[0], " 0") {
		t.Errorf("the failures are not counted: %q", got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	submitted(202)
}

// A directory that cannot be the trail's ends the start before anything is written.
func TestWrongAuditDir(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "audit"), filepath.Join(t.TempDir(), "no", "such"), data} {
		_, err := node.Open(t.Context(), node.Config{ID: "n1", DataDir: data, AuditDir: dir})
		var config *node.ConfigError
		if !errors.As(err, &config) || !strings.Contains(err.Error(), "--audit-dir") || !strings.Contains(err.Error(), dir) && !strings.Contains(err.Error(), filepath.Dir(dir)) {
			t.Errorf("%s: %v", dir, err)
		}
		if _, err := os.Stat(data); err == nil {
			t.Fatalf("%s: the data directory was made", dir)
		}
	}
}

// Within a minute of a line the cluster knows it, and the trail is held to that.
func TestTrailIsAnchored(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir(), AuditDir: dir})
	ready(t, n)
	rest := restOf(t, n)
	if got, answer := rest.do("POST", "/components", "", `{"name":"laser"}`); got != 201 {
		t.Fatalf("sign-in: %d %s", got, answer)
	}
	c := clientOf(t, "", n)
	if _, _, err := c.RaiseLevel(t.Context(), 2); err != nil { // of which anchors are
		t.Fatal(err)
	}
	var anchors []audit.Anchor
	eventually(t, "the cluster was told of the trail", func() bool {
		list, _, err := c.AuditAnchors(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list.Anchors {
			anchors = append(anchors, audit.Anchor(a))
		}
		return len(anchors) > 0
	})
	if found, err := trail.Verify(dir, anchors); err != nil || found.Anchors == 0 || found.Coordinator != "n1" {
		t.Errorf("%+v, %v", found, err)
	}
	anchors[0].Hash = audit.Zero
	if _, err := trail.Verify(dir, anchors); err == nil {
		t.Error("another line was not found")
	}
}

// The last lines before an orderly end are anchored: a coordinator that starts with a trail that was cut meanwhile says
// so, and one whose trail is whole does not.
func TestTrailCutBetweenStarts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	cfg := node.Config{ID: "n1", DataDir: t.TempDir(), AuditDir: dir}
	session := func(name string) (lines []audit.Line) {
		n, stop := start(t, cfg)
		ready(t, n)
		rest := restOf(t, n)
		for range 2 { // the second is not in what is cut below
			if got, answer := rest.do("POST", "/components", "", `{"name":"`+name+`"}`); got != 201 && got != 409 {
				t.Fatalf("sign-in: %d %s", got, answer)
			}
		}
		stop()
		lines, _ = trailLines(t, dir)
		return lines
	}
	faults := func(lines []audit.Line) (found []string) {
		for _, l := range lines {
			if l.What == "find a fault in the trail" {
				found = append(found, l.Target)
			}
		}
		return found
	}
	before := session("a")
	if len(before) != 2 || len(faults(session("b"))) > 0 {
		t.Fatalf("the trail of an orderly end: %+v", before)
	}
	file := filepath.Join(dir, "000001.jsonl")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	if err := os.WriteFile(file, whole[:end], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := faults(session("c")); len(got) != 1 || !strings.HasPrefix(got[0], "cut: the trail ends with line number 3, and the cluster was told of number 4 ") {
		t.Errorf("faults that were found: %q", got)
	}
}
