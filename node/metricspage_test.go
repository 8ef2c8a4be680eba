package node_test

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

var (
	pageLine   = regexp.MustCompile("(?m)^\\| `(folkmoot_\\w+)` \\| ([^|]*) \\|")
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (folkmoot_\w+) `)
	sampleLine = regexp.MustCompile(`(?m)^(folkmoot_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$`)
	labelName  = regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)
	described  = regexp.MustCompile(`fqName: "(folkmoot_\w+)"`)
)

// The page has every metric that there is, with its labels, and no other.
func TestMetricsAreOnThePage(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	page := map[string]string{} // labels, sorted, by name
	for _, m := range pageLine.FindAllStringSubmatch(string(text), -1) {
		labels := strings.Fields(strings.ReplaceAll(m[2], "`", ""))
		slices.Sort(labels)
		page[m[1]] = strings.Join(labels, " ")
	}

	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir(), LECOAddr: "127.0.0.1:0", BackupDir: t.TempDir()})
	ready(t, n)
	c := clientOf(t, "", n)
	if _, _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	scraped := scrape(t, n)
	for _, counted := range []string{"fsync_seconds_count", "commit_seconds_count", "apply_seconds_count", "log_bytes"} {
		if !regexp.MustCompile(`(?m)^folkmoot_` + counted + ` [1-9]`).MatchString(scraped) {
			t.Errorf("%s is 0 or missing though there were writes", counted)
		}
	}
	known := map[string]bool{}
	for _, m := range typeLine.FindAllStringSubmatch(scraped, -1) {
		known[m[1]] = true
	}
	if len(known) < 40 {
		t.Errorf("the scrape has only %d metrics of ours", len(known))
	}
	for _, d := range node.DescribedMetrics() {
		known[described.FindStringSubmatch(d)[1]] = true
	}
	for name := range known {
		if _, there := page[name]; !there {
			t.Errorf("%s is not on docs/metrics.md", name)
		}
	}
	for name := range page {
		if !known[name] {
			t.Errorf("docs/metrics.md has %s, which is no metric", name)
		}
	}
	for _, m := range sampleLine.FindAllStringSubmatch(scraped, -1) {
		var labels []string
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		name := m[1]
		if !known[name] { // one whose own name ends like a part of a histogram
			continue
		}
		if got := strings.Join(labels, " "); got != page[name] {
			t.Errorf("%s has the labels %q, on docs/metrics.md %q", name, got, page[name])
		}
	}
}

// What is refused for want of a token or a right is counted by door and code, also where no trail is kept.
func TestRefusalsAreCounted(t *testing.T) {
	const operator = "the-operator-of-this-coordinator-12345"
	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir(), TokenFile: tokenFile(t, operator)})
	ready(t, n)
	made, _, err := clientOf(t, operator, n).CreateToken(t.Context(), wire.NewToken{Grants: []string{"components:read@lab1"}})
	if err != nil {
		t.Fatal(err)
	}
	want := func(line string) {
		t.Helper()
		if !strings.Contains(scrape(t, n), "\n"+line+"\n") {
			t.Errorf("%s is not in the scrape", line)
		}
	}
	want(`folkmoot_tokens 1`)
	want(`folkmoot_auth_refused_total{code="unauthorized",door="http"} 0`)
	if _, _, err := clientOf(t, "", n).Status(t.Context()); err == nil {
		t.Error("without a token")
	}
	if _, _, err := clientOf(t, made.Token, n).Status(t.Context()); err == nil {
		t.Error("without a right")
	}
	want(`folkmoot_auth_refused_total{code="unauthorized",door="http"} 1`)
	want(`folkmoot_auth_refused_total{code="forbidden",door="http"} 1`)
	want(`folkmoot_auth_refused_total{code="forbidden",door="native"} 0`)
}

// scrape returns what /metrics answers.
func scrape(t *testing.T, n *node.Node) string {
	t.Helper()
	resp, err := http.Get("http://" + n.Addrs().Ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %s, %v", resp.Status, err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(body)
}
