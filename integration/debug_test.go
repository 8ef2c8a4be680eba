package integration_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// Marks of what must not be told: the first nowhere, the second, of names that users choose, not by metrics.
const (
	secretMark = "zq7secret"
	nameMark   = "zq7name"
)

// bundleFiles are the files of a bundle, unpacked as far as they are packed.
func bundleFiles(t *testing.T, path string) map[string]string {
	t.Helper()
	unzip := func(packed []byte) []byte {
		r, err := gzip.NewReader(bytes.NewReader(packed))
		must(t, err)
		all, err := io.ReadAll(r)
		must(t, err)
		return all
	}
	packed, err := os.ReadFile(path)
	must(t, err)
	files := map[string]string{}
	from := tar.NewReader(bytes.NewReader(unzip(packed)))
	for {
		h, err := from.Next()
		if err == io.EOF {
			return files
		}
		must(t, err)
		content, err := io.ReadAll(from)
		must(t, err)
		if strings.HasSuffix(h.Name, ".gz") {
			content = unzip(content)
		}
		files[h.Name] = string(content)
	}
}

// planter puts marked secrets and names wherever a coordinator takes them.
type planter struct {
	*tlsCluster
	n1      *process
	http    *http.Client
	secrets []string
}

// do is one request, with a bearer token and further headers.
func (p *planter) do(want int, token, method, path, body string, headers ...string) string {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, "https://"+p.n1.http+path, strings.NewReader(body))
	must(p.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := p.http.Do(r)
	must(p.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(p.t, err)
	if resp.StatusCode != want {
		p.t.Fatalf("%s %s: %s %s, want %d", method, path, resp.Status, answer, want)
	}
	return string(answer)
}

// keep decodes an answer, and remembers the secrets in it.
func (p *planter) keep(answer string, fields ...string) map[string]any {
	p.t.Helper()
	all := map[string]any{}
	must(p.t, json.Unmarshal([]byte(answer), &all))
	for _, f := range fields {
		secret, _ := all[f].(string)
		if len(secret) < 20 {
			p.t.Fatalf("%s has no %s", answer, f)
		}
		p.secrets = append(p.secrets, secret)
	}
	return all
}

// startPlanter starts one coordinator with certificates, tokens and a worker, which logs all that it can.
func startPlanter(t *testing.T) *planter {
	t.Helper()
	dir := t.TempDir()
	p := &planter{tlsCluster: &tlsCluster{cluster: newCluster(t, 1, "--namespace", nameMark, "--log-level", "debug", "--worker", "--backup-dir", filepath.Join(dir, "backups")), ca: filepath.Join(dir, "ca")}}
	p.n1 = p.nodes[0]
	p.ctl(0, "ca", "init", "--cluster", "lab", "--dir", p.ca)
	must(t, os.Mkdir(p.tls("n1"), 0o700))
	p.copy("n1", "ca.pem", "ca-key.pem")
	trust, err := client.LoadTLS(filepath.Join(p.ca, "ca.pem"), "", "")
	must(t, err)
	p.n1.tls = trust
	p.n1.args = append(p.n1.args, "--tls-dir", p.tls("n1"))
	p.token = p.n1.asksForToken("operator-" + secretMark + "-0123456789abcdef0123456789abcdef")
	p.n1.start()
	p.waitHealthy(1)
	transport := &http.Transport{TLSClientConfig: trust}
	t.Cleanup(transport.CloseIdleConnections)
	p.http = &http.Client{Transport: transport, Timeout: patience}
	return p
}

// plant does it.
func (p *planter) plant() {
	p.t.Helper()
	operator := p.n1.token
	signedIn := p.keep(p.do(201, operator, "POST", "/v1/components", `{"name":"`+nameMark+`-laser","lease":"1h","labels":{"place":"`+nameMark+`"}}`), "secret")
	made := p.keep(p.do(201, operator, "POST", "/v1/tokens", `{"name":"`+nameMark+`","grants":["read@`+nameMark+`"]}`), "token")
	p.keep(p.do(201, operator, "POST", "/v1/tokens/join", `{"id":"n9"}`), "token")
	full, session := signedIn["full_name"].(string), p.secrets[0]
	p.do(200, operator, "POST", "/v1/messages", `{"to":"`+full+`","content":{"say":"`+secretMark+`"}}`, "X-Session", session)

	// What is refused: by a wrong token, one in the query, for want of a right, and since it is broken.
	p.do(401, "wrong-"+secretMark+"-0123456789abcdef0123456789abcdef", "GET", "/v1/status", "")
	p.do(401, "", "GET", "/v1/status?token=fmt_"+secretMark+"0123456789abcdef0123456789", "")
	p.do(401, "", "POST", "/v1/ca/sign", `{"csr":"`+secretMark+`"}`, "Authorization", "Bearer fmj_"+secretMark+"_0123456789abcdef")
	low := made["token"].(string)
	p.do(403, low, "DELETE", "/v1/components/"+full, "")
	p.do(403, low, "GET", "/v1/debug/bundle", "")
	p.do(400, operator, "POST", "/v1/jobs", `{"script":"`+secretMark)

	api := p.n1.api()
	job, _, err := api.Submit(p.t.Context(), wire.SubmitJob{
		Name: nameMark, Group: nameMark, Runtime: "sh", Script: "# " + secretMark + "\necho said " + secretMark + "; exit 1", Args: json.RawMessage(`"` + secretMark + `"`),
		Items: []json.RawMessage{json.RawMessage(`"` + secretMark + `"`)}, MaxAttempts: 1,
	})
	must(p.t, err)
	for _, err := range api.Results(p.t.Context(), job.ID, true) { // it fails, with an error text
		must(p.t, err)
	}
	for _, name := range []string{filepath.Join(p.ca, "ca-key.pem"), filepath.Join(p.n1.data, "tls", "own.pem")} {
		text, err := os.ReadFile(name)
		must(p.t, err)
		_, key, found := strings.Cut(string(text), "PRIVATE KEY-----\n")
		key, _, ends := strings.Cut(key, "\n-----END")
		if !found || !ends {
			p.t.Fatalf("%s has no key", name)
		}
		for line := range strings.SplitSeq(key, "\n") {
			if len(line) > 20 { // the last may be a few letters
				p.secrets = append(p.secrets, line)
			}
		}
	}
}

// No secret, message or script is told by what an operator gets to see: the bundle for finding faults, metrics, status, the
// log. No name that a user has chosen is in the metrics.
func TestNoSecretIsTold(t *testing.T) {
	t.Parallel()
	p := startPlanter(t)
	p.plant()

	file := filepath.Join(t.TempDir(), "debug.tar.gz")
	p.ask(0, "debug", file, "--cpu", "1s")
	told := bundleFiles(t, file)
	for _, name := range []string{"about.json", "status.json", "members.json", "metrics.txt", "settings.json", "log.txt", "goroutines.txt", "heap.pb.gz", "cpu.pb.gz"} {
		if told["n1/"+name] == "" {
			t.Errorf("the bundle has no %s", name)
		}
	}
	for name, part := range map[string]string{
		"settings.json": `"flag --token-file"`, "log.txt": "coordinator started", "goroutines.txt": "goroutine ", "members.json": `"id": "n1"`,
		"metrics.txt": "folkmoot_auth_refused_total", "status.json": `"cluster_id"`, "about.json": `"coordinator": "n1"`,
	} {
		if !strings.Contains(told["n1/"+name], part) {
			t.Errorf("%s of the bundle does not have %s", name, part)
		}
	}
	told["the log"] = p.n1.log.String()
	told["/metrics"] = p.n1.scrape()
	told["/v1/status"] = p.do(200, p.n1.token, "GET", "/v1/status", "")

	for where, text := range told {
		for _, secret := range append(p.secrets, secretMark) {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s tells %s: ...%q...", where, secret, text[max(0, i-100):min(len(text), i+len(secret)+20)])
			}
		}
		if (where == "/metrics" || where == "n1/metrics.txt") && strings.Contains(text, nameMark) {
			t.Errorf("%s has names that users chose: %s", where, around(text, nameMark))
		}
	}
	for _, counted := range []string{`{code="unauthorized",door="http"} `, `{code="forbidden",door="http"} `} {
		if text := told["/metrics"]; !strings.Contains(text, "folkmoot_auth_refused_total"+counted) || strings.Contains(text, "folkmoot_auth_refused_total"+counted+"0\n") {
			t.Errorf("what was refused is not counted by %s", counted)
		}
	}
}

// scrape returns what the operator's port answers.
func (p *process) scrape() string {
	p.t.Helper()
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Get("http://" + p.ops + "/metrics")
	must(p.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(p.t, err)
	return string(text)
}
