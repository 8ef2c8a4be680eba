package fsm_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/fsm"
)

// Elections and changes of who votes are events once, however often they are written down; a leader of before changes
// nothing.
func TestNewsOfTheGroup(t *testing.T) {
	m := fsm.New()
	group := func(term uint64, leader string, suffrages ...string) fsm.Group {
		g := fsm.Group{Term: term, Leader: leader, ServerID: leader + "/1"}
		for i, s := range suffrages {
			id := string('a' + rune(i))
			g.Servers = append(g.Servers, fsm.Server{ID: id, ServerID: id + "/1", Suffrage: s})
		}
		return g
	}
	var index uint64
	write := func(g fsm.Group) (seen []string) {
		index++
		before, seq := m.View().Position()
		m.Apply(index, [][]byte{encode(t, fsm.KindGroup, t0, g)})
		events, _ := m.Feed().Since(before, seq)
		for _, e := range events {
			seen = append(seen, e.Topic+" "+e.Kind+" "+e.Key+" "+e.Reason)
		}
		return seen
	}
	for _, step := range []struct {
		group fsm.Group
		want  []string
	}{
		{group(2, "a", "voter", "nonvoter"), []string{"member leader_elected a term 2"}},
		{group(2, "a", "voter", "nonvoter"), nil},
		{group(2, "a", "voter", "voter"), []string{"member promoted b "}},
		{group(2, "a", "voter", "voter", "nonvoter"), nil}, // a new one
		{group(5, "b", "nonvoter", "voter", "voter"), []string{"member leader_elected b term 5", "member demoted a ", "member promoted c "}},
		{group(4, "a", "voter", "voter", "voter"), nil},
		{group(5, "a", "voter", "voter", "voter"), nil},
		{group(6, "b", "nonvoter", "voter", "voter"), []string{"member leader_elected b term 6"}},
	} {
		if diff := cmp.Diff(step.want, write(step.group)); diff != "" {
			t.Errorf("after %+v (-want +got):\n%s", step.group, diff)
		}
	}
	var snapshot bytes.Buffer
	if _, err := m.Freeze().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	restored := fsm.New()
	if err := restored.Restore(&snapshot); err != nil {
		t.Fatal(err)
	}
	if !restored.View().Group.Same(m.View().Group) || restored.View().Fingerprint() != m.View().Fingerprint() {
		t.Errorf("restored %+v, want %+v", restored.View().Group, m.View().Group)
	}
}
