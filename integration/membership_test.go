package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// tells waits until the events about members have these, in this order.
func (c *cluster) tells(events ...string) {
	c.t.Helper()
	want := regexp.MustCompile("(?s)" + strings.Join(events, ".*"))
	eventually(c.t, fmt.Sprintf("news of %q", events), func(ctx) error {
		told := regexp.MustCompile(" +").ReplaceAllString(c.ctl(0, "events", "--topic", "member"), " ")
		if !want.MatchString(told) {
			return fmt.Errorf("told were:\n%s", told)
		}
		return nil
	})
}

// A fourth coordinator comes, proves itself, gets its vote, loses it, gets it
// back and is removed; all of it by the operator's tool.
func TestAFourthCoordinatorComesAndGoes(t *testing.T) {
	t.Parallel()
	flags := append([]string{"--grace", "2s"}, steadyLeader...)
	c := startCluster(t, 3, flags...)
	c.checkMemberLists()

	n4 := c.join("n4", flags...)
	n4.start()
	c.ctl(0, "wait", "member/n4", "--timeout", "60s")
	c.ctl(0, "wait", "member/n4=voter", "--timeout", "60s") // once it has been well for a while
	c.waitHealthy(4)

	c.ctl(0, "members", "demote", "n4")
	c.ctl(0, "wait", "member/n4=nonvoter")
	c.tells("leader_elected n[123] ", "announced n4", "promoted n4", "demoted n4")
	c.ctl(0, "members", "promote", "n4")
	c.tells("demoted n4", "promoted n4")
	if m := c.member("n4"); m.Suffrage != "voter" {
		t.Errorf("promoted, n4 is a %s", m.Suffrage)
	}

	laser := c.signIn(n4, "laser", 10*time.Minute)
	server := c.member("n4").ServerID
	if out := c.ctl(0, "members", "remove", "n4", "--yes"); !strings.Contains(out, "n4 is out") {
		t.Errorf("remove said %q", out)
	}
	c.ctl(0, "wait", "member/n4=gone")
	c.leave(n4)
	if code := n4.wait(); code != 5 {
		t.Errorf("removed, n4 ended with %d, want 5\n%s", code, n4.tail())
	}
	// Its sessions end, its row goes, and so its namespace is free.
	c.ctl(0, "wait", "component/"+laser.FullName+"=gone")
	eventually(t, "the namespace n4 to be free", func(ctx ctx) error {
		all, _, err := c.api().Namespaces(ctx, client.Read{Consistency: "strict"})
		if err == nil && all["n4"].Coordinator != "" {
			err = fmt.Errorf("%s presides over it", all["n4"].Coordinator)
		}
		return err
	})
	before := c.terms()
	n4.start()
	if code := n4.wait(); code != 5 {
		t.Errorf("started again, n4 ended with %d, want 5", code)
	}
	n4.says("--when-removed rejoin")
	n5 := c.join("n5", append([]string{"--namespace", "n4"}, steadyLeader...)...)
	n5.start()
	c.ctl(0, "wait", "member/n5=alive", "--timeout", "60s")
	eventually(t, "n5 to take its place", func(ctx ctx) error {
		all, _, err := c.api().Namespaces(ctx, client.Read{})
		if err == nil && all["n4"].Coordinator != "n5" {
			err = fmt.Errorf("%q presides over n4", all["n4"].Coordinator)
		}
		return err
	})
	if in := c.signIn(n5, "laser", 10*time.Minute); in.FullName != laser.FullName {
		t.Errorf("signed in as %s, want %s", in.FullName, laser.FullName)
	}
	if after := c.terms(); after != before {
		t.Errorf("the removed coordinator disturbed the others: %s became %s", before, after)
	}
	for _, p := range c.nodes {
		all, _, err := p.api().Members(t.Context(), client.Read{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all.Members {
			if m.ServerID == server {
				t.Errorf("%s lists the removed server %s again", p.name, server)
			}
		}
	}
	c.agree()
}

// A removed coordinator that is to join again stays until it is started anew, and
// is a new server then; also when it was removed while it was away.
func TestARemovedCoordinatorJoinsAgain(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	n4 := c.join("n4", "--when-removed", "rejoin", "--bootstrap-expect", "3")
	n4.start()
	servers := map[string]bool{}
	joined := func() {
		t.Helper()
		c.ctl(0, "wait", "member/n4=alive", "--timeout", "60s")
		eventually(t, "n4 to be ready", func(ctx ctx) error {
			st, _, err := n4.api().Status(ctx)
			if err == nil && !st.Ready {
				err = errors.New(st.ReadyReason)
			}
			servers[st.ServerID] = true
			return err
		})
	}
	joined()
	c.ctl(0, "members", "remove", "n4", "--yes")
	eventually(t, "n4 to know that it is out", func(ctx ctx) error {
		st, _, err := n4.api().Status(ctx)
		if err == nil && (st.Ready || !strings.Contains(st.ReadyReason, "removed")) {
			err = fmt.Errorf("it is ready: %t, %q", st.Ready, st.ReadyReason)
		}
		return err
	})
	n4.says("joins as a new one at its next start")
	if a := n4.probe("/readyz"); a.status != 503 || !strings.Contains(a.body, "removed") {
		t.Errorf("/readyz: %d %s", a.status, a.body)
	}
	if a := n4.probe("/livez"); a.status != 200 {
		t.Errorf("/livez: %d %s", a.status, a.body)
	}
	n4.stop()
	n4.start()
	joined()
	n4.stop()
	c.ctl(0, "members", "remove", "n4", "--yes")
	n4.start()
	c.ctl(0, "wait", "member/n4=alive", "--timeout", "60s")
	joined()
	aside, err := filepath.Glob(filepath.Join(n4.data, "removed-*", "local.db"))
	if err != nil || len(aside) != 2 || len(servers) != 3 {
		t.Errorf("set aside were %v (%v), and n4 was %d servers, want 2 and 3", aside, err, len(servers))
	}
	c.waitHealthy(4)
	c.agree()
}

// probe asks the operator's port.
func (p *process) probe(path string) answer {
	p.t.Helper()
	rs, err := plain.Get("http://" + p.ops + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer rs.Body.Close()
	text, err := io.ReadAll(rs.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer{rs.StatusCode, rs.Header, string(text)}
}

// checkMemberLists reads the list of members in every shape it is offered in.
func (c *cluster) checkMemberLists() {
	c.t.Helper()
	table := c.ctl(0, "members", "list")
	yaml := c.ctl(0, "members", "list", "-o", "yaml")
	names := c.ctl(0, "members", "list", "-o", "name")
	var list wire.Members
	if err := json.Unmarshal([]byte(c.ctl(0, "members", "list", "-o", "json")), &list); err != nil || len(list.Members) != len(c.nodes) {
		c.t.Errorf("JSON: %d members, %v", len(list.Members), err)
	}
	for _, m := range list.Members {
		p := c.node(m.ID)
		if m.Address != p.peer || m.HTTPAddress != p.http || m.Suffrage != "voter" || !m.Alive {
			c.t.Errorf("%s is listed as %+v", p.name, m)
		}
		if !strings.Contains(table, p.name) || !strings.Contains(table, p.peer) {
			c.t.Errorf("the table leaves %s at %s out:\n%s", p.name, p.peer, table)
		}
		if !strings.Contains(yaml, "id: "+p.name) || !strings.Contains(names, "member/"+p.name+"\n") {
			c.t.Errorf("%s is left out of the YAML or the names:\n%s\n%s", p.name, yaml, names)
		}
	}
}

// terms tells who leads in which term, as each coordinator sees it.
func (c *cluster) terms() string {
	c.t.Helper()
	var all []string
	for _, p := range c.nodes {
		if p.name == "n5" {
			continue
		}
		l, _, err := p.api().Leader(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s in %d", l.ID, l.Term))
	}
	return strings.Join(all, ", ")
}

// Every order about the membership may be given at any coordinator; what
// cannot be is refused with a reason and exit status 1.
func TestMembershipThroughAFollower(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	at := c.follower()
	ctl := func(want int, args ...string) string {
		t.Helper()
		return c.ctl(want, append(args, "--addr", at.http)...)
	}

	free := ports(t, 3)
	n4 := c.prepare("n4", free[0], free[1], free[2], "--join", free[1]) // waits to be invited
	n4.start()
	eventually(t, "n4 to be there", func(ctx ctx) error {
		_, _, err := n4.api().Status(ctx)
		return err
	})
	if out := ctl(0, "members", "add", n4.peer, "--non-voter"); !strings.Contains(out, "n4") || !strings.Contains(out, "nonvoter") {
		t.Errorf("add said %q", out)
	}
	ctl(0, "members", "add", n4.peer, "--non-voter") // told twice
	ctl(0, "wait", "member/n4=alive")
	said := ctl(0, "members", "promote", "n4")
	var list wire.Members
	if err := json.Unmarshal([]byte(ctl(0, "members", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if want := regexp.MustCompile(fmt.Sprintf(`(?s)before: .*n4 nonvoter \(configuration \d+\)\nafter:  .*n4 voter \(configuration %d\)`, list.ConfigIndex)); !want.MatchString(said) {
		t.Errorf("promote said %q, want %s", said, want)
	}
	if a := at.ask("POST", fmt.Sprintf("/v1/members/n4/demote?cas=%d", list.ConfigIndex-1), ""); a.status != 409 || !strings.Contains(a.body, fmt.Sprintf("of index %d by now", list.ConfigIndex)) {
		t.Errorf("a change of another configuration: %d %s", a.status, a.body)
	}
	ctl(0, "wait", "member/n4=voter", "--timeout", "1s")
	ctl(0, "members", "demote", "n4")
	ctl(0, "wait", "member/n4=nonvoter", "--timeout", "1s")
	ctl(0, "leader", "transfer", "--to", at.name)
	ctl(0, "wait", "leader="+at.name)
	at = c.others(at)[0]
	ctl(0, "leader", "transfer")

	for _, r := range []struct{ want, args string }{
		{"not_found", "members remove n9 --yes"},
		{"not_found", "members promote n9"},
		{"not_found", "leader transfer --to n9"},
		{"no vote", "leader transfer --to n4"},
		{"no coordinator answers", "members add " + ports(t, 1)[0]},
	} {
		if out := ctl(1, strings.Fields(r.args)...); !strings.Contains(out, r.want) {
			t.Errorf("raftctl %s said %q, want %q in it", r.args, out, r.want)
		}
	}
	ctl(0, "members", "remove", "n4", "--yes")
	c.leave(n4)

	// With one of three dead no other vote may go.
	dead := c.others(c.leader())[0]
	dead.kill()
	at = c.leader()
	eventually(t, "the dead one to be missed", func(ctx) error {
		if m := c.member(dead.name); m.Alive {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
	for _, p := range c.others(dead) {
		for _, verb := range []string{"remove", "demote"} {
			if out := ctl(1, "members", verb, p.name, "--yes"); !strings.Contains(out, "too few to go on") {
				t.Errorf("%s %s said %q", verb, p.name, out)
			}
		}
	}
	dead.start()
	c.waitHealthy(3)
	c.agree()
}

// The exit statuses that scripts hold on to, where there is nobody to refuse.
func TestExitStatusesWithoutACluster(t *testing.T) {
	t.Parallel()
	c := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3)
	solo := c.prepare("solo", free[0], free[1], free[2])
	solo.start()
	c.waitHealthy(1)
	for _, args := range []string{"members remove solo --yes", "members demote solo"} {
		if out := c.ctl(1, strings.Fields(args)...); !strings.Contains(out, "last vote") {
			t.Errorf("raftctl %s said %q", args, out)
		}
	}
	if out := c.ctl(1, "leader", "transfer"); !strings.Contains(out, "no other voter") {
		t.Errorf("transfer alone said %q", out)
	}
	c.ctl(0, "leader", "transfer", "--to", "solo") // it leads already
	for _, args := range []string{"members remove", "members add", "members list --nonsense", "members frobnicate", "wait member/n1=duke", "status -o xml"} {
		c.ctl(2, strings.Fields(args)...)
	}
	nobody := ports(t, 1)[0]
	for _, args := range []string{"members list", "members remove n1 --yes", "leader", "leader transfer", "status"} {
		if out := c.ctl(3, append(strings.Fields(args), "--addr", nobody, "--timeout", "2s")...); !strings.Contains(out, nobody) {
			t.Errorf("raftctl %s does not say whom it asked: %q", args, out)
		}
	}
	c.agree()
}

// One that is to stay without a vote replicates and serves, and never gets one.
func TestANonVoterStaysOne(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	n4 := c.join("n4", "--non-voter")
	n4.start()
	c.ctl(0, "wait", "member/n4=nonvoter")
	eventually(t, "n4 to be ready", func(ctx ctx) error {
		st, _, err := n4.api().Status(ctx)
		if err == nil && !st.Ready {
			err = fmt.Errorf("%s", st.ReadyReason)
		}
		return err
	})
	in := c.signIn(n4, "laser", 10*time.Minute)
	c.has(in.FullName, "n4")
	// Longer than a candidate for a vote is watched.
	quiet := time.After(13 * time.Second)
	for waiting := true; waiting; {
		if m := c.member("n4"); m.Suffrage != "nonvoter" {
			t.Fatalf("n4 became a %s", m.Suffrage)
		}
		select {
		case <-quiet:
			waiting = false
		case <-time.After(250 * time.Millisecond):
		}
	}
	c.agree()
}

// Of a namespace there is one coordinator, of an id one server that lives.
func TestNamespaceAndIDAreTaken(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	n4 := c.join("n4", "--namespace", "n1")
	n4.start()
	n4.says("cannot take its place")
	all, _, err := c.api().Namespaces(t.Context(), client.Read{Consistency: "strict"})
	if err != nil || all["n1"].Coordinator != "n1" {
		t.Errorf("n1 is presided over by %q (%v)", all["n1"].Coordinator, err)
	}
	in := c.signIn(c.node("n1"), "laser", 10*time.Minute)
	c.has(in.FullName, "n1")
	if a := n4.ask("POST", "/v1/components", `{"name":"camera"}`); a.status != 503 || !strings.Contains(a.body, "n4") {
		t.Errorf("a sign-in at a coordinator that has no place: %d %s", a.status, a.body)
	}
	n4.kill()
	c.ctl(0, "members", "remove", "n4", "--yes")
	c.leave(n4)

	// The id of one that lives, with an empty disk.
	twin := c.join("n1", "--namespace", "twin")
	c.leave(twin)
	twin.data += "-twin"
	twin.args = append(without(twin.args, "--data-dir"), "--data-dir", twin.data)
	before := c.member("n1").ServerID
	twin.start()
	twin.says("a coordinator with the id n1 is a member and alive")
	if after := c.member("n1"); after.ServerID != before || !after.Alive {
		t.Errorf("n1 was %s and is now %+v", before, after)
	}
	c.waitHealthy(3)
	c.agree()
}

// Two clusters that are pointed at each other stay two.
func TestAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	c := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 6)
	a := c.prepare("a", free[0], free[1], free[2])
	b := c.prepare("b", free[3], free[4], free[5])
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(1)
	c.signIn(a, "laser", 10*time.Minute)
	c.signIn(b, "laser", 10*time.Minute)
	for _, way := range [][2]*process{{a, b}, {b, a}} {
		if out := c.ctl(1, "members", "add", way[1].peer, "--addr", way[0].http); !strings.Contains(out, "cluster") {
			t.Errorf("%s asked to take %s in said %q", way[0].name, way[1].name, out)
		}
	}
	// Told to join the other on its next start, it stays where it belongs.
	b.stop()
	b.args = append(b.args, "--join", a.peer)
	b.start()
	c.waitHealthy(1)
	// Both say so: it that --join was not followed, the other that it was refused.
	b.says("--join names a coordinator of another cluster")
	a.says("foreign cluster: b/")
	a.says("leave the one out of the --join of the other")
	ids := map[string]bool{}
	for _, p := range c.nodes {
		st, _, err := p.api().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(st.Warning, a.peer) && strings.Contains(st.Warning, "leave it out of --join"); warned != (p == b) {
			t.Errorf("%s warns %q", p.name, st.Warning)
		}
		if ids[st.ClusterID] = true; st.Members != 1 || st.Components != 1 {
			t.Errorf("%s has %d members and %d components", p.name, st.Members, st.Components)
		}
	}
	if len(ids) != 2 {
		t.Errorf("the two clusters are %v", ids)
	}
}
