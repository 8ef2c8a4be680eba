package check

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

const rulesFile = "../prometheus/rules.yaml"

var promQL = parser.NewParser(parser.Options{})

// rules reads the alerts as Prometheus does.
func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, promQL, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	all := map[string]rulefmt.Rule{}
	if groups != nil {
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				all[r.Alert] = r
			}
		}
	}
	return all
}

// alertCase is what Prometheus has scraped once a minute, and who is told of it.
type alertCase struct {
	alert  string
	why    string
	series string
	at     time.Duration
	fires  []string // instances, coordinators or jobs; none: it is quiet all the time
}

var alertCases = []alertCase{
	{"FolkmootNoLeader", "nobody knows one", `
		folkmoot_leader_known{job="f",instance="a"} 1 0x10
		folkmoot_leader_known{job="f",instance="b"} 1 0x10`, 3 * time.Minute, []string{"f"}},
	{"FolkmootNoLeader", "nobody knows one for less than a minute", `
		folkmoot_leader_known{job="f",instance="a"} 1 1 0 1 1`, 4 * time.Minute, nil},
	{"FolkmootNoLeader", "one does", `
		folkmoot_leader_known{job="f",instance="a"} 0x10
		folkmoot_leader_known{job="f",instance="b"} 1x10`, 5 * time.Minute, nil},
	{"FolkmootNoLeader", "nobody is scraped", `other{job="f"} 1x10`, 5 * time.Minute, []string{""}},
	{"FolkmootNoLeader", "another cluster has one", `
		folkmoot_leader_known{job="f",instance="a"} 0x10
		folkmoot_leader_known{job="g",instance="b"} 1x10`, 5 * time.Minute, []string{"f"}},

	{"FolkmootLeaderChanges", "five within an hour", `
		folkmoot_leader_changes_total{job="f",instance="a"} 1x9 2 3 4 5 6 6x45`, time.Hour, []string{"f"}},
	{"FolkmootLeaderChanges", "two by a rollout", `
		folkmoot_leader_changes_total{job="f",instance="a"} 1x9 2 3 3x48`, time.Hour, nil},
	{"FolkmootLeaderChanges", "five within five hours", `
		folkmoot_leader_changes_total{job="f",instance="a"} 1x60 2x60 3x60 4x60 5x60`, 5 * time.Hour, nil},

	{"FolkmootNoTolerance", "one of three is lost", `
		folkmoot_failure_tolerance{job="f",instance="a"} 1 0x10
		folkmoot_is_leader{job="f",instance="a"} 1x11`, 8 * time.Minute, []string{"f"}},
	{"FolkmootNoTolerance", "one of three is started again", `
		folkmoot_failure_tolerance{job="f",instance="a"} 1 0 0 1x8
		folkmoot_is_leader{job="f",instance="a"} 1x11`, 8 * time.Minute, nil},
	{"FolkmootNoTolerance", "a follower that is cut off cannot tell", `
		folkmoot_failure_tolerance{job="f",instance="a"} 1x11
		folkmoot_failure_tolerance{job="f",instance="b"} -1x11
		folkmoot_is_leader{job="f",instance="a"} 1x11
		folkmoot_is_leader{job="f",instance="b"} 0x11`, 8 * time.Minute, nil},

	{"FolkmootMemberUnhealthy", "one is down", `
		folkmoot_member_healthy{job="f",instance="a",coordinator="n1"} 1x30
		folkmoot_member_healthy{job="f",instance="a",coordinator="n2"} 0x30
		folkmoot_is_leader{job="f",instance="a"} 1x30`, 12 * time.Minute, []string{"n2"}},
	{"FolkmootMemberUnhealthy", "one is down for five minutes", `
		folkmoot_member_healthy{job="f",instance="a",coordinator="n2"} 0x5 1x30
		folkmoot_is_leader{job="f",instance="a"} 1x30`, 12 * time.Minute, nil},
	{"FolkmootMemberUnhealthy", "one that is cut off finds all others unwell", `
		folkmoot_member_healthy{job="f",instance="b",coordinator="n1"} 0x30
		folkmoot_is_leader{job="f",instance="b"} 0x30`, 12 * time.Minute, nil},

	{"FolkmootLagging", "one stands still", `
		folkmoot_index{job="f",instance="a",of="commit"} 0+100x20
		folkmoot_index{job="f",instance="a",of="applied"} 0+100x20
		folkmoot_index{job="f",instance="b",of="commit"} 10x20
		folkmoot_index{job="f",instance="b",of="applied"} 10x20`, 10 * time.Minute, []string{"b"}},
	{"FolkmootLagging", "all are busy, and scraped at different times", `
		folkmoot_index{job="f",instance="a",of="commit"} 100000+100000x20
		folkmoot_index{job="f",instance="a",of="applied"} 100000+100000x20
		folkmoot_index{job="f",instance="b",of="commit"} 0+100000x20
		folkmoot_index{job="f",instance="b",of="applied"} 0+100000x20`, 10 * time.Minute, nil},

	{"FolkmootSlowDisk", "one write in ten takes 200 ms", `
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="0.05"} 0+90x20
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="0.1"} 0+90x20
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="0.25"} 0+100x20
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="+Inf"} 0+100x20`, 15 * time.Minute, []string{"a"}},
	{"FolkmootSlowDisk", "one in two hundred does", `
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="0.05"} 0+199x20
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="0.1"} 0+199x20
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="0.25"} 0+200x20
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="+Inf"} 0+200x20`, 15 * time.Minute, nil},
	{"FolkmootSlowDisk", "nothing is written", `
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="0.1"} 5x20
		folkmoot_fsync_seconds_bucket{job="f",instance="a",le="+Inf"} 9x20`, 15 * time.Minute, nil},

	{"FolkmootDisk", "one is nearly full", `
		folkmoot_disk_state{job="f",instance="a",state="ok"} 1 0x10
		folkmoot_disk_state{job="f",instance="a",state="low"} 0 1x10
		folkmoot_disk_state{job="f",instance="b",state="ok"} 1x10
		folkmoot_disk_state{job="f",instance="b",state="low"} 0x10`, 3 * time.Minute, []string{"a"}},
	{"FolkmootDisk", "all have room", `
		folkmoot_disk_state{job="f",instance="a",state="ok"} 1x10
		folkmoot_disk_state{job="f",instance="a",state="critical"} 0x10`, 3 * time.Minute, nil},

	{"FolkmootCertificate", "13 days are left", `
		folkmoot_certificate_expiry_timestamp_seconds{job="f",instance="a",port="peer"} 1123200x10
		folkmoot_certificate_expiry_timestamp_seconds{job="f",instance="b",port="peer"} 7776000x10`, 6 * time.Minute, []string{"a"}},
	{"FolkmootCertificate", "15 days are left", `
		folkmoot_certificate_expiry_timestamp_seconds{job="f",instance="a",port="peer"} 1296600x10`, 6 * time.Minute, nil},

	{"FolkmootBackupOld", "the newest is older than two intervals", `
		folkmoot_backup_interval_seconds{job="f",instance="a"} 3600x200
		folkmoot_backup_last_success_timestamp_seconds{job="f",instance="a"} 60x200`, 130 * time.Minute, []string{"f"}},
	{"FolkmootBackupOld", "another coordinator has a newer one", `
		folkmoot_backup_interval_seconds{job="f",instance="a"} 3600x200
		folkmoot_backup_interval_seconds{job="f",instance="b"} 3600x200
		folkmoot_backup_last_success_timestamp_seconds{job="f",instance="a"} 60x200
		folkmoot_backup_last_success_timestamp_seconds{job="f",instance="b"} 3600x200`, 130 * time.Minute, nil},
	{"FolkmootBackupOld", "there has never been one", `
		folkmoot_backup_interval_seconds{job="f",instance="a"} 3600x200
		process_start_time_seconds{job="f",instance="a"} 60x200`, 130 * time.Minute, []string{"f"}},
	{"FolkmootBackupOld", "there has never been one, an hour after the start", `
		folkmoot_backup_interval_seconds{job="f",instance="a"} 3600x200
		process_start_time_seconds{job="f",instance="a"} 4200x200`, 130 * time.Minute, nil},
	{"FolkmootBackupOld", "none are kept", `process_start_time_seconds{job="f",instance="a"} 60x200`, 130 * time.Minute, nil},

	{"FolkmootVoters", "two are left", `
		folkmoot_voters{job="f",instance="a"} 2x60
		folkmoot_is_leader{job="f",instance="a"} 1x60`, 35 * time.Minute, []string{"f"}},
	{"FolkmootVoters", "four", `
		folkmoot_voters{job="f",instance="a"} 4x60
		folkmoot_is_leader{job="f",instance="a"} 1x60`, 35 * time.Minute, []string{"f"}},
	{"FolkmootVoters", "three, and one that was replaced within half an hour", `
		folkmoot_voters{job="f",instance="a"} 3x10 2x20 3x60
		folkmoot_is_leader{job="f",instance="a"} 1x90`, 80 * time.Minute, nil},
	{"FolkmootVoters", "one with an old configuration is cut off", `
		folkmoot_voters{job="f",instance="a"} 5x60
		folkmoot_voters{job="f",instance="b"} 2x60
		folkmoot_is_leader{job="f",instance="a"} 1x60
		folkmoot_is_leader{job="f",instance="b"} 0x60`, 35 * time.Minute, nil},

	{"FolkmootAudit", "it cannot be written", `folkmoot_audit_failures_total{job="f",instance="a"} 0 1 2 3 4`, 4 * time.Minute, []string{"a"}},
	{"FolkmootAudit", "it could not be written once, long ago", `folkmoot_audit_failures_total{job="f",instance="a"} 3x60`, 30 * time.Minute, nil},
}

// Each alert fires where it should, and nowhere else.
func TestAlerts(t *testing.T) {
	all := rules(t)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true, Parser: promQL})
	t.Cleanup(func() { engine.Close() })
	fired, quiet := map[string]bool{}, map[string]bool{}
	for _, c := range alertCases {
		rule, there := all[c.alert]
		if !there {
			t.Errorf("there is no alert %s", c.alert)
			continue
		}
		got := firing(t, engine, rule, c)
		if !slices.Equal(got, c.fires) {
			t.Errorf("%s, %s: it fires for %q, want %q", c.alert, c.why, got, c.fires)
		}
		fired[c.alert], quiet[c.alert] = fired[c.alert] || len(c.fires) > 0, quiet[c.alert] || len(c.fires) == 0
	}
	for name, rule := range all {
		if !fired[name] || !quiet[name] {
			t.Errorf("%s has no case in which it fires, or none in which it does not", name)
		}
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", name, s)
		}
	}
	if len(all) != 11 {
		t.Errorf("%d alerts, want 11", len(all))
	}
}

// firing returns for whom an alert fires at the end, or, where it is to be quiet, has fired
// at any time: evaluated each minute, it must have held for as long as the rule wants.
func firing(t *testing.T, engine *promql.Engine, rule rulefmt.Rule, c alertCase) []string {
	t.Helper()
	storage := seriesOf(t, c.series)
	since := map[string]time.Time{}
	var names []string
	for at := time.Unix(0, 0).UTC(); !at.After(time.Unix(0, 0).Add(c.at)); at = at.Add(time.Minute) {
		query, err := engine.NewInstantQuery(context.Background(), storage, nil, rule.Expr, at)
		if err != nil {
			t.Fatal(err)
		}
		found, err := query.Exec(context.Background()).Vector()
		if err != nil {
			t.Fatalf("%s: %v", rule.Alert, err)
		}
		now := map[string]time.Time{}
		if len(c.fires) > 0 {
			names = nil
		}
		for _, sample := range found {
			key := sample.Metric.String()
			if now[key] = at; !since[key].IsZero() {
				now[key] = since[key]
			}
			if at.Sub(now[key]) >= time.Duration(rule.For) {
				names = append(names, whom(sample.Metric))
			}
		}
		query.Close()
		since = now
	}
	slices.Sort(names)
	return names
}

func whom(m labels.Labels) string {
	for _, label := range []string{"coordinator", "instance", "job"} {
		if v := m.Get(label); v != "" {
			return v
		}
	}
	return ""
}

var (
	documented = regexp.MustCompile("(?m)^\\| `(folkmoot_\\w+)` \\|")
	heading    = regexp.MustCompile(`(?m)^#+ (Folkmoot\w+)$`)
)

// metricNames are all that docs/metrics.md has; a test of the node holds that to a scrape.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"process_start_time_seconds": true, "process_resident_memory_bytes": true, "go_goroutines": true, "up": true}
	for _, m := range documented.FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
	}
	for _, histogram := range []string{"apply", "commit", "fsync", "http_request"} {
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			names["folkmoot_"+histogram+"_seconds"+part] = true
		}
	}
	return names
}

// unknownMetrics are the metrics that an expression asks for and nobody has.
func unknownMetrics(t *testing.T, expr string, known map[string]bool) (unknown []string) {
	t.Helper()
	tree, err := promQL.ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok && !known[s.Name] {
			unknown = append(unknown, s.Name)
		}
		return nil
	})
	return unknown
}

// The alerts ask for metrics that there are, and each has its place among the runbooks.
func TestAlertsAreDocumented(t *testing.T) {
	known := metricNames(t)
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(string(page), -1) {
		headings[m[1]] = true
	}
	all := rules(t)
	for name, rule := range all {
		for _, m := range unknownMetrics(t, rule.Expr, known) {
			t.Errorf("%s asks for %s, which docs/metrics.md does not have", name, m)
		}
		if anchor := "docs/operations.md#" + strings.ToLower(name); !strings.HasSuffix(rule.Annotations["runbook_url"], anchor) || !headings[name] {
			t.Errorf("%s: %s, want it to end with %s, and a heading of that name there", name, rule.Annotations["runbook_url"], anchor)
		}
		delete(headings, name)
	}
	for name := range headings {
		t.Errorf("docs/operations.md has %s, which is no alert", name)
	}
}

// The operator of Prometheus gets the same alerts.
func TestRulesAreFresh(t *testing.T) {
	want, err := PrometheusRule(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../k8s/components/monitoring/rules.yaml")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("deploy/k8s/components/monitoring/rules.yaml is not what deploy/prometheus/rules.yaml makes (%v): make chart", err)
	}
}

// dashboard is what Grafana needs of a dashboard that is imported.
type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	Description string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		Expr, RefID string
		Datasource  struct{ Type, UID string }
	}
}

// The dashboard can be imported, and shows metrics that there are.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../grafana/folkmoot.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 39 {
		t.Errorf("uid %q, title %q, schemaVersion %d", d.UID, d.Title, d.SchemaVersion)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	if variables["datasource"] != "datasource" || variables["job"] != "query" {
		t.Errorf("the variables are %v, want datasource and job", variables)
	}
	known, shown, ids := metricNames(t), map[string]bool{}, map[int]bool{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] {
			t.Errorf("%q: the id %d is missing or given twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.W <= 0 || p.GridPos.H <= 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%q stands at %+v", p.Title, p.GridPos)
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q has no title, description, datasource or target", p.ID, p.Title)
		}
		for _, target := range p.Targets {
			if target.RefID == "" {
				t.Errorf("%q: a target has no refId", p.Title)
			}
			expr := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(target.Expr)
			for _, m := range unknownMetrics(t, expr, known) {
				t.Errorf("%q asks for %s, which docs/metrics.md does not have", p.Title, m)
			}
			if strings.Contains(target.Expr, "folkmoot_") && !strings.Contains(target.Expr, `job=~"$job"`) {
				t.Errorf("%q shows all clusters at once: %s", p.Title, target.Expr)
			}
			for name := range known {
				shown[name] = shown[name] || strings.Contains(target.Expr, name)
			}
		}
	}
	for _, name := range []string{
		"folkmoot_leader_known", "folkmoot_is_leader", "folkmoot_failure_tolerance", "folkmoot_member_healthy", "folkmoot_writes_total",
		"folkmoot_commit_seconds_bucket", "folkmoot_fsync_seconds_bucket", "folkmoot_apply_seconds_bucket", "folkmoot_messages_total", "folkmoot_jobs",
		"folkmoot_disk_free_bytes", "folkmoot_log_bytes", "folkmoot_certificate_expiry_timestamp_seconds", "folkmoot_backup_last_success_timestamp_seconds",
		"folkmoot_auth_refused_total",
	} {
		if !shown[name] {
			t.Errorf("no panel shows %s (there are %v)", name, slices.Sorted(maps.Keys(shown)))
		}
	}
}
