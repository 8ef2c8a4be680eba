package audit_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/wire"
)

func anchoring(coordinator string, seq uint64) audit.Anchoring {
	return audit.Anchoring{Coordinator: coordinator, ServerID: coordinator + "/1", Seq: seq, Hash: audit.HashLine(fmt.Append(nil, seq))}
}

func write(t *testing.T, tab *audit.Table, index uint64, c audit.Anchoring) *audit.Table {
	t.Helper()
	next := tab.Next(index)
	if a, err := next.Anchor(c, t0); err != nil || a.Seq != c.Seq || a.Hash != c.Hash {
		t.Fatalf("anchor %+v: %+v, %v", c, a, err)
	}
	if err := next.Verify(); err != nil {
		t.Fatal(err)
	}
	return next
}

// The last 64 of each coordinator are kept, and an older view keeps what it had.
func TestLast64AnchorsAreKept(t *testing.T) {
	tab := new(audit.Table)
	var old *audit.Table
	for i := range 100 {
		tab = write(t, tab, uint64(2*i+1), anchoring("n1", uint64(i+1)))
		tab = write(t, tab, uint64(2*i+2), anchoring("n2", uint64(i+1)))
		if i == 9 {
			old = tab
		}
	}
	if got := tab.Of("n1"); len(got) != 64 || got[0].Seq != 37 || got[63].Seq != 100 || got[63].Index != 199 {
		t.Errorf("%d anchors of n1, %d to %d", len(got), got[0].Seq, got[len(got)-1].Seq)
	}
	if got := old.Of("n2"); len(got) != 10 || got[9].Seq != 10 {
		t.Errorf("the older view has %d anchors of n2", len(got))
	}
	if got := tab.Of("n3"); got != nil {
		t.Errorf("n3 has anchors: %v", got)
	}
}

// A trail that is begun anew shows for ever, however many anchors come then; and no server's takes more than two of the
// places, nor all of them the newest one's.
func TestAnchorsOfATrailBegunAnew(t *testing.T) {
	tab := new(audit.Table)
	index := uint64(0)
	tell := func(server, seq int) {
		index++
		c := anchoring("n1", uint64(seq))
		c.ServerID = fmt.Sprintf("n1/%d", server)
		c.Hash = audit.HashLine(fmt.Append(nil, index)) // another line, also where it has a number of before
		tab = write(t, tab, index, c)
		if got := tab.Of("n1"); len(got) > 64 || got[len(got)-1].Index != index {
			t.Fatalf("%d anchors behind index %d, the newest of them of %d", len(got), index, got[len(got)-1].Index)
		}
	}
	of := func(server int) (seqs []uint64) {
		for _, a := range tab.Of("n1") {
			if a.ServerID == fmt.Sprintf("n1/%d", server) {
				seqs = append(seqs, a.Seq)
			}
		}
		return seqs
	}
	for _, seq := range []int{400, 500, 20} { // begun anew behind 500
		tell(1, seq)
	}
	for seq := 21; seq < 800; seq++ {
		tell(1, seq)
	}
	if got := of(1); len(got) != 64 || !slices.Equal(got[:3], []uint64{500, 20, 738}) {
		t.Errorf("begun anew behind 500: kept are %v", got)
	}
	tell(1, 800)
	tell(1, 10) // and behind 800
	for seq := 11; seq < 200; seq++ {
		tell(1, seq)
	}
	if got := of(1); len(got) != 64 || !slices.Equal(got[:3], []uint64{800, 10, 138}) {
		t.Errorf("and behind 800: kept are %v", got)
	}
	tell(1, 200)
	tell(1, 200) // another line of the same number
	tell(1, 201)
	if got := of(1); !slices.Equal(got[:2], []uint64{800, 10}) {
		t.Errorf("and behind 200: kept are %v", got)
	}
	for seq := range 100 {
		tell(2, seq+1)
	}
	if got := of(1); !slices.Equal(got, []uint64{800, 10}) || len(of(2)) != 62 {
		t.Errorf("a new disk: kept are %v, and of the old one %v", of(2), got)
	}
	for server := 3; server < 103; server++ {
		tell(server, 9)
		tell(server, 1)
	}
}

// The same anchor again changes nothing; what is none is refused and writes nothing.
func TestAnchorAgainAndNone(t *testing.T) {
	tab := write(t, new(audit.Table), 1, anchoring("n1", 5))
	again := write(t, tab, 2, anchoring("n1", 5))
	if again.Writes() != 0 || len(again.Of("n1")) != 1 || again.Of("n1")[0].Index != 1 {
		t.Errorf("again: %d writes, %v", again.Writes(), again.Of("n1"))
	}
	for _, c := range []audit.Anchoring{{}, anchoring("", 1), anchoring("n1", 0), {Coordinator: "n1", Seq: 1, Hash: strings.Repeat("G", 64)}} {
		next := again.Next(3)
		if _, err := next.Anchor(c, t0); wire.CodeOf(err) != wire.CodeInvalid || next.Writes() != 0 {
			t.Errorf("%+v: %v, %d writes", c, err, next.Writes())
		}
	}
	if err := anchoring(strings.Repeat("n", 300), 1).Validate(); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("a long id: %v", err)
	}
}

// However many coordinators ever were, the anchors are bounded; those of the one that was silent for longest go first.
func TestAnchorsOfManyCoordinators(t *testing.T) {
	tab := new(audit.Table)
	for i := range 300 {
		tab = write(t, tab, uint64(i+1), anchoring(fmt.Sprintf("n%03d", i), 1))
	}
	if tab.Of("n000") != nil || tab.Of("n043") != nil || tab.Of("n044") == nil || tab.Of("n299") == nil {
		t.Error("others than the 44 oldest are gone")
	}
}

// What a snapshot brings back is what was.
func TestAnchorsRoundTrip(t *testing.T) {
	tab := new(audit.Table)
	for i := range 10 {
		tab = write(t, tab, uint64(i+1), anchoring(fmt.Sprintf("n%d", i%3), uint64(i+1)))
	}
	back := new(audit.Table)
	var rows []string
	for name, row := range tab.Rows() {
		b, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, string(b))
		if known, err := back.Load(name, func(into any) error { return json.Unmarshal(b, into) }); !known || err != nil {
			t.Fatalf("row %s: %v, %v", b, known, err)
		}
	}
	var again []string
	for _, row := range back.Rows() {
		b, _ := json.Marshal(row)
		again = append(again, string(b))
	}
	if strings.Join(rows, "\n") != strings.Join(again, "\n") || back.Verify() != nil || len(rows) != 10 {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(again, "\n"), strings.Join(rows, "\n"))
	}
	if known, _ := back.Load("jobs.job", nil); known {
		t.Error("it took a row of another table")
	}
}

// An anchor holds a trail to the line it is of.
func TestAnchorHoldsATrail(t *testing.T) {
	line := []byte(`{"seq":5}`)
	a := audit.Anchor{Seq: 5, Hash: audit.HashLine(line), Index: 9}
	for name, c := range map[string]struct {
		page audit.Page
		want audit.Kind
	}{
		"it is there":          {audit.Page{First: 1, Last: 8, Lines: []json.RawMessage{line}}, ""},
		"it is the newest":     {audit.Page{First: 5, Last: 5, Lines: []json.RawMessage{line}}, ""},
		"it is too old":        {audit.Page{First: 6, Last: 8, Lines: []json.RawMessage{[]byte(`{"seq":6}`)}}, ""},
		"there is another one": {audit.Page{First: 1, Last: 8, Lines: []json.RawMessage{[]byte(`{"seq":5,"x":1}`)}}, audit.NotAnchored},
		"it is cut":            {audit.Page{First: 1, Last: 4}, audit.Cut},
		"there is nothing":     {audit.Page{}, audit.Cut},
	} {
		got := a.Holds(c.page)
		if (got == nil) != (c.want == "") || got != nil && got.Kind != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
