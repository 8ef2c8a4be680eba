package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// A job whose results go beyond the quota fails and says so, and the cluster
// goes on: with one quota for a job, one for all jobs, and room as soon as a job
// is forgotten.
func TestResultQuota(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--worker", "--slots", "1", "--job-result-bytes", "100KiB", "--result-bytes", "150KiB")
	c.haveWorkers(3)
	large := func(id string, n int) {
		t.Helper()
		c.submit(c.nodes[0], wire.SubmitJob{ID: id, Runtime: "sh", Script: `head -c 30000 /dev/zero | tr '\0' x`, Items: numbers(n), Parallel: 1})
	}
	quota := func(id string, done int, says ...string) {
		t.Helper()
		j := c.ended(id, "failed")
		parts := c.parts(id)
		for i, p := range parts {
			want := map[bool]string{true: "done", false: "cancelled"}[i < done]
			if i == done {
				want = "failed"
			}
			if p.State != want {
				t.Errorf("part %d of %s is %s (%s), want %s", i, id, p.State, p.Error, want)
			}
		}
		if p := parts[done]; !strings.HasPrefix(p.Error, "result_quota: 30002 bytes more do not fit") || p.Attempt != 1 || p.Result != nil {
			t.Errorf("part %d of %s: attempt %d, error %q", done, id, p.Attempt, p.Error)
		}
		for _, want := range says {
			if !strings.Contains(j.Reason, want) {
				t.Errorf("the reason of %s lacks %q: %s", id, want, j.Reason)
			}
		}
		if j.ResultQuota != 100<<10 || j.ResultBytes < int64(30_002*done) || j.ResultBytes > int64(30_002*done+1000) {
			t.Errorf("%s has %d of %d bytes of results, want %d of 102400 and a text", id, j.ResultBytes, j.ResultQuota, 30_002*done)
		}
	}
	large("first", 6)
	quota("first", 3, fmt.Sprintf("part 3 failed: result_quota: 30002 bytes more do not fit: the results of job first have %d of at most 102400 bytes", 3*30_002))
	large("second", 3)
	quota("second", 2, "the results of all jobs have ", " of at most 153600 bytes")
	for _, p := range c.nodes {
		if st, _, err := p.api().Status(t.Context()); err != nil || st.JobSize == nil || st.JobSize.ResultBytes < 150_000 || st.JobSize.ResultBytes > 153_600 {
			t.Errorf("%s: the status has %+v (%v)", p.name, st.JobSize, err)
		}
	}
	if a := c.nodes[1].ask("DELETE", "/v1/jobs/first", ""); a.status != 409 {
		t.Errorf("a late cancel of a job that failed: %d %s", a.status, a.body)
	}
	c.ctl(0, "jobs", "forget", "first", "second", "--yes")
	if _, _, err := c.nodes[2].api().Job(t.Context(), "first", client.Read{Consistency: "strict"}); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("the forgotten job: %v", err)
	}
	large("third", 3)
	c.ended("third", "done")
	c.nodes[0].kill()
	c.nodes[0].start()
	c.waitHealthy(3)
	c.agree()
}
