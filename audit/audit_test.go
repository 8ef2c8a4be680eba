package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/audit"
)

var t0 = time.Date(2026, 11, 30, 1, 2, 3, 4e6, time.UTC)

func refusal(at time.Duration) audit.Event {
	return audit.Event{
		At: t0.Add(at), Door: audit.DoorHTTP, Who: audit.Who{Token: "t_1", Name: "ops", Remote: "10.0.0.7:4711"},
		What: "DELETE /v1/members/:id", Target: "n4", Outcome: audit.Refused, Code: "forbidden", Needs: "cluster:write", RequestID: "r1",
	}
}

// trail writes n lines and returns them without their newlines.
func trail(n int) (lines [][]byte, end audit.Chain) {
	var b []byte
	for i := range n {
		e := refusal(time.Duration(i) * time.Second)
		e.Index = uint64(i)
		b = end.Append(b, "n1", e)
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")), end
}

// A line has its fields in the order that tools hold on to, prev first.
func TestLineIsAsPromised(t *testing.T) {
	e := refusal(0)
	e.Index, e.Times, e.Who.Session, e.Who.Certificate = 812, 3, "s1", "spiffe://lab/member/n1"
	var c audit.Chain
	got := string(c.Append(nil, "n1", e))
	want := `{"prev":"` + audit.Zero + `","seq":1,"at":"2026-11-30T01:02:03.004Z","coordinator":"n1","door":"http",` +
		`"who":{"token":"t_1","name":"ops","session":"s1","certificate":"spiffe://lab/member/n1","remote":"10.0.0.7:4711"},` +
		`"what":"DELETE /v1/members/:id","target":"n4","outcome":"refused","code":"forbidden","needs":"cluster:write",` +
		`"index":812,"request_id":"r1","times":3}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if h := audit.HashLine([]byte(strings.TrimSuffix(want, "\n"))); c.Seq != 1 || c.Hash != h || c.Prev() != h {
		t.Errorf("the chain ends at %+v, want 1 and %s", c, h)
	}
}

// What a caller chose the length of does not fill the disk, and no byte of it ends a line.
func TestLinesAreBounded(t *testing.T) {
	e := refusal(0)
	e.Target = strings.Repeat("x", 1<<20) + "\n"
	e.Who.Name = "a\nb\xff" + strings.Repeat("ä", 500)
	var c audit.Chain
	b := c.Append(nil, "n1", e)
	if len(b) > 4096 || bytes.Count(b, []byte("\n")) != 1 {
		t.Errorf("a line of %d bytes with %d newlines", len(b), bytes.Count(b, []byte("\n")))
	}
	if l, err := audit.ParseLine(bytes.TrimSuffix(b, []byte("\n"))); err != nil || !strings.HasPrefix(l.Who.Name, "a\nb") {
		t.Errorf("read back as %+v, %v", l, err)
	}
}

func verify(lines [][]byte, anchors []audit.Anchor) (audit.Trail, error) {
	v := audit.NewVerifier(anchors)
	for i, l := range lines {
		if err := v.Line("000001.jsonl", i+1, l); err != nil {
			break
		}
	}
	return v.End()
}

func anchor(lines [][]byte, seq int) audit.Anchor {
	return audit.Anchor{Coordinator: "n1", ServerID: "n1/1", Seq: uint64(seq), Hash: audit.HashLine(lines[seq-1]), Index: uint64(1000 + seq)}
}

// Every way in which a trail can be other than it was written is found at its place.
func TestVerifierNamesThePlace(t *testing.T) {
	edit := func(line int, old, new string) func([][]byte) [][]byte {
		return func(l [][]byte) [][]byte {
			l[line-1] = bytes.Replace(l[line-1], []byte(old), []byte(new), 1)
			return l
		}
	}
	rewritten := func(l [][]byte) [][]byte { // by one who knows how to make a chain
		var c audit.Chain
		for i := range l {
			e := refusal(0)
			e.Target = "somebody else"
			l[i] = bytes.TrimSuffix(c.Append(nil, "n1", e), []byte("\n"))
		}
		return l
	}
	for name, c := range map[string]struct {
		do   func([][]byte) [][]byte
		line int
		kind audit.Kind
	}{
		"changed":               {edit(4, `"n4"`, `"n5"`), 4, audit.Changed},
		"the last but one":      {edit(9, `"n4"`, `"n5"`), 9, audit.Changed},
		"first changed":         {edit(1, `"n4"`, `"n5"`), 1, audit.Changed},
		"prev changed":          {func(l [][]byte) [][]byte { l[4][10] ^= 1; return l }, 5, audit.Changed},
		"first prev changed":    {edit(1, "0000", "1111"), 1, audit.Changed},
		"no JSON":               {edit(6, `"seq"`, `"seq`), 6, audit.Changed},
		"another number":        {edit(7, `"seq":7`, `"seq":8`), 7, audit.Changed},
		"one missing":           {func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) }, 5, audit.Missing},
		"two swapped":           {func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }, 4, audit.Missing},
		"one twice":             {func(l [][]byte) [][]byte { return slices.Insert(l, 4, l[3]) }, 5, audit.OutOfOrder},
		"cut before the anchor": {func(l [][]byte) [][]byte { return l[:7] }, 7, audit.Cut},
		"empty":                 {func([][]byte) [][]byte { return nil }, 0, audit.Cut},
		"written anew":          {rewritten, 3, audit.NotAnchored},
	} {
		lines, _ := trail(10)
		anchors := []audit.Anchor{anchor(lines, 8), anchor(lines, 3)}
		if got, err := verify(lines, anchors); err != nil || got.Lines != 10 || got.Anchors != 2 || got.First != 1 || got.Last != 10 || got.Coordinator != "n1" {
			t.Fatalf("as written: %+v, %v", got, err)
		}
		_, err := verify(c.do(lines), anchors)
		var f *audit.Fault
		if !errors.As(err, &f) {
			t.Errorf("%s: found nothing: %v", name, err)
			continue
		}
		if f.Line != c.line || f.Kind != c.kind || c.line > 0 && f.File != "000001.jsonl" {
			t.Errorf("%s: got %v, want it %s at line %d", name, f, c.kind, c.line)
		}
	}
}

// A chain that was made up behind the newest line that the cluster was told of is nobody's trail.
func TestVerifierOfAChainBehindTheNewestAnchor(t *testing.T) {
	lines, _ := trail(10)
	_, end := trail(8)
	made := audit.Chain{Seq: end.Seq, Hash: audit.HashLine([]byte("made up"))}
	e := refusal(0)
	e.Target = "somebody else"
	chain := bytes.Split(bytes.TrimSuffix(made.Append(made.Append(nil, "n1", e), "n1", e), []byte("\n")), []byte("\n"))
	_, err := verify(chain, []audit.Anchor{anchor(lines, 8), anchor(lines, 3)})
	var f *audit.Fault
	if !errors.As(err, &f) || f.Kind != audit.Missing || !strings.Contains(f.Why, "line number 8 ") || !strings.Contains(f.Why, "begins with number 9") {
		t.Errorf("got %v", err)
	}
}

// Lines of two coordinators are not one trail, however they are tied.
func TestVerifierOfTwoCoordinators(t *testing.T) {
	var c audit.Chain
	b := c.Append(c.Append(nil, "n1", refusal(0)), "n2", refusal(0))
	_, err := verify(bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")), nil)
	var f *audit.Fault
	if !errors.As(err, &f) || f.Kind != audit.Changed || f.Line != 2 {
		t.Errorf("got %v", err)
	}
}

// Every byte of every line but the last is held by the chain, and that of the last by its anchor.
func TestVerifierFindsEveryByte(t *testing.T) {
	lines, _ := trail(4)
	anchors := []audit.Anchor{anchor(lines, 4)}
	for i := range lines {
		for k := range lines[i] {
			lines[i][k] ^= 1
			_, err := verify(lines, anchors)
			var f *audit.Fault
			if !errors.As(err, &f) || f.Line != i+1 {
				t.Fatalf("byte %d of line %d: got %v", k, i+1, err)
			}
			lines[i][k] ^= 1
		}
	}
}

// A trail of which the oldest files are gone is held to the anchors that are left; a new disk has a trail of its own,
// and that of the old one is still held to what was said of it.
func TestVerifierOfPartsAndOfEarlierServers(t *testing.T) {
	lines, _ := trail(10)
	anchors := []audit.Anchor{anchor(lines, 2), anchor(lines, 8)}
	if got, err := verify(lines[4:], anchors); err != nil || got.Anchors != 1 || got.First != 5 {
		t.Errorf("the end of a trail: %+v, %v", got, err)
	}
	var c audit.Chain
	second := [][]byte{bytes.TrimSuffix(c.Append(nil, "n1", refusal(time.Hour)), []byte("\n"))}
	anchors = append(anchors, audit.Anchor{Coordinator: "n1", ServerID: "n1/2", Seq: 1, Hash: c.Hash, Index: 2000})
	if got, err := verify(second, anchors); err != nil || got.ServerID != "n1/2" || got.Replaced != "" || got.Anchors != 1 {
		t.Errorf("the new disk: %+v, %v", got, err)
	}
	if got, err := verify(lines, anchors); err != nil || got.ServerID != "n1/1" || got.Replaced != "n1/2" || got.Anchors != 2 {
		t.Errorf("the old disk: %+v, %v", got, err)
	}
}

// Equal refusals within a minute are one event, from whatever port they come; others are not held up by them.
func TestEqualRefusalsAreOne(t *testing.T) {
	var m audit.Merger
	for i := range 50 {
		e := refusal(time.Duration(i) * time.Second)
		e.Who.Remote, e.RequestID = fmt.Sprintf("10.0.0.7:%d", 1000+i), fmt.Sprint(i)
		if out := m.Add(e); len(out) != 0 {
			t.Fatalf("refusal %d gave out %v", i, out)
		}
	}
	other := refusal(10 * time.Second)
	other.Who.Token = "t_2"
	m.Add(other)
	if out := m.Due(t0.Add(59 * time.Second)); len(out) != 0 {
		t.Errorf("before the minute is over: %v", out)
	}
	if at, ok := m.Next(); !ok || !at.Equal(t0.Add(time.Minute)) {
		t.Errorf("the next is at %v, %v", at, ok)
	}
	out := m.Due(t0.Add(time.Minute))
	if len(out) != 1 || out[0].Times != 50 || out[0].RequestID != "0" || out[0].Who.Remote != "10.0.0.7:1000" {
		t.Errorf("after a minute: %+v", out)
	}
	m.Add(refusal(61 * time.Second))
	if out := m.All(); len(out) != 2 || out[0].Who.Token != "t_2" || out[0].Times > 1 {
		t.Errorf("the rest: %+v", out)
	}
	if _, ok := m.Next(); ok {
		t.Error("something is held after all was taken")
	}
}

// A minute begins with the first refusal, and is never made longer by more of them.
func TestMinuteIsNotMadeLonger(t *testing.T) {
	var m audit.Merger
	m.Add(refusal(0))
	if out := m.Add(refusal(time.Minute)); len(out) != 1 || out[0].Times > 1 || !out[0].At.Equal(t0) {
		t.Errorf("the first minute: %+v", out)
	}
	if out := m.All(); len(out) != 1 || !out[0].At.Equal(t0.Add(time.Minute)) {
		t.Errorf("the second: %+v", out)
	}
}

// Whoever makes up names at the door that asks for no token gets a bounded number of lines a minute, and one that says how
// many there were; what needs more than a name, and what a token vouches for, is a line each.
func TestMergerBoundsSignInsOfNobody(t *testing.T) {
	t0 := time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		event  audit.Event
		merged bool
	}{
		"sign-ins":          {audit.Event{Door: audit.DoorLECO, What: "sign_in", Outcome: audit.Done}, true},
		"what is done":      {audit.Event{Door: audit.DoorLECO, What: "set_log_level", Outcome: audit.Done}, false},
		"other doors":       {audit.Event{Door: audit.DoorNative, What: "sign_in", Outcome: audit.Done}, false},
		"sign-ins by token": {audit.Event{Door: audit.DoorLECO, What: "sign_in", Outcome: audit.Done, Who: audit.Who{Token: "t_1"}}, false},
	} {
		var m audit.Merger
		for minute := range 2 {
			own := 0
			for i := range 3000 {
				e := c.event
				e.At = t0.Add(time.Duration(minute)*audit.MergeFor + time.Duration(i)*time.Millisecond)
				e.Target, e.Index = fmt.Sprint("n1.c", i), uint64(i)
				e.Who.Name, e.Who.Remote = e.Target, "10.0.0.7:1"
				e, merges := m.Takes(e)
				if !merges {
					own++
					continue
				}
				m.Add(e)
			}
			out := m.Due(t0.Add(time.Duration(minute+1)*audit.MergeFor + 10*time.Second))
			switch {
			case !c.merged && (own != 3000 || len(out) > 0):
				t.Errorf("%s: %d lines, and %+v", name, own, out)
			case c.merged && (own != 512 || len(out) != 1 || out[0].Times != 3000-512 || out[0].Target != audit.Several || out[0].Who != (audit.Who{}) || out[0].Index != 0 || out[0].Door != audit.DoorLECO || out[0].What != "sign_in" || out[0].Outcome != audit.Done):
				t.Errorf("%s: %d lines, and %+v", name, own, out)
			}
		}
	}
}

// Whoever makes up ever new refusals gets a bounded number of lines, and every refusal is in one of them. What was told
// apart before still is.
func TestMergerIsBounded(t *testing.T) {
	var m audit.Merger
	count := func(events []audit.Event) (n int) {
		for _, e := range events {
			n += max(e.Times, 1)
		}
		return n
	}
	for i := range 100_000 {
		e := refusal(0)
		e.Target = fmt.Sprint(i)
		e.Who.Token = fmt.Sprintf("t_%d", i%2000)
		if out := m.Add(e); len(out) > 0 {
			t.Fatalf("it gave out %+v", out)
		}
	}
	e := refusal(time.Second)
	e.Target, e.Who.Token = "7", "t_7"
	m.Add(e)
	out := m.Due(t0.Add(time.Minute))
	if len(out) > 1000 || count(out) != 100_001 || out[7].Target != "7" || out[7].Times != 2 {
		t.Fatalf("%d lines for %d refusals; the eighth is %+v", len(out), count(out), out[7])
	}
	byToken, least := out[600], out[len(out)-1]
	if byToken.Target != audit.Several || byToken.Who.Token == "" || byToken.Who.Remote != "" || byToken.What != e.What {
		t.Errorf("beyond the first bound: %+v", byToken)
	}
	if least.What != audit.Several || least.Who != (audit.Who{}) || least.Code != e.Code || least.Door != e.Door || least.Times < 2 {
		t.Errorf("beyond the second: %+v", least)
	}
}

// A reader sees at once what has come, and of equal ones not each.
func TestMergerShows(t *testing.T) {
	var m audit.Merger
	times := func(after time.Duration) (n int) {
		for _, e := range m.Show(t0.Add(after)) {
			n += max(e.Times, 1)
		}
		return n
	}
	polled := refusal(0)
	polled.Outcome, polled.Polled = audit.Done, true
	m.Add(polled)
	m.Add(refusal(0))
	m.Add(refusal(time.Second))
	if n := times(time.Second); n != 2 {
		t.Errorf("%d are shown, want 2", n)
	}
	m.Add(refusal(2 * time.Second))
	if n := times(3 * time.Second); n != 0 {
		t.Errorf("just after the first time %d are shown", n)
	}
	m.Add(refusal(12 * time.Second))
	if n := times(12 * time.Second); n != 2 {
		t.Errorf("ten seconds later %d are shown, want 2", n)
	}
	m.Add(refusal(30 * time.Second))
	out := m.Due(t0.Add(time.Minute))
	if len(out) != 2 || !out[0].Polled || !out[1].At.Equal(t0.Add(30*time.Second)) {
		t.Errorf("after the minute: %+v", out)
	}
}

// What looks like a secret is in no line, wherever a caller has put it; what only begins like one stays.
func TestLinesHaveNoSecrets(t *testing.T) {
	const tail = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"
	const session = "8c5a1f0e-1111-8222-8333-0123456789ab"
	for given, want := range map[string]string{
		"fmt_" + tail: "[secret]",
		"a/fmt_" + tail + "/b, fmj_" + tail + ".": "a/[secret]/b, [secret].",
		session + "." + tail:                      session + ".[secret]",
		"n1." + session + "." + tail + " fmt_x":   "n1." + session + ".[secret] fmt_x",
		session:                                   session,
		"n1." + tail:                              "n1." + tail,
		"fmt_short and t_0123456789abcdef":        "fmt_short and t_0123456789abcdef",
		"":                                        "",
	} {
		if got := audit.WithoutSecrets(given); got != want {
			t.Errorf("%s: got %q, want %q", given, got, want)
		}
	}
	e := refusal(0)
	for _, field := range []*string{&e.What, &e.Target, &e.Code, &e.Needs, &e.RequestID, &e.Who.Token, &e.Who.Name, &e.Who.Session, &e.Who.Certificate, &e.Who.Remote} {
		*field = strings.Repeat("x", 240) + "fmt_" + tail
	}
	var c audit.Chain
	if line := string(c.Append(nil, "n1", e)); strings.Contains(line, tail[:8]) || strings.Contains(line, "fmt_") {
		t.Errorf("a secret is in %s", line)
	}
}

// However a secret is put among other bytes, nothing of it is left, and nothing else is taken away that is needed to see
// whose it was.
func FuzzWithoutSecrets(f *testing.F) {
	const tail = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"
	f.Add("a/", "/b")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, secret := range []string{"fmt_" + tail, "fmj_" + tail, "8c5a1f0e-1111-8222-8333-0123456789ab." + tail} {
			if got := audit.WithoutSecrets(before + secret + after); strings.Contains(got, tail) {
				t.Errorf("%q is left of %q", got, before+secret+after)
			}
		}
	})
}

func FuzzParseLine(f *testing.F) {
	lines, _ := trail(2)
	f.Add(lines[0])
	f.Add([]byte(`{"prev":"","seq":-1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if l, err := audit.ParseLine(raw); err == nil && (l.Seq == 0 || len(l.Prev) != len(audit.Zero)) {
			t.Errorf("%q was read as %+v", raw, l)
		}
	})
}

// Whatever stands in the files, the verifier says one thing, and says it again.
func FuzzVerifier(f *testing.F) {
	lines, _ := trail(5)
	f.Add(bytes.Join(lines, []byte("\n")), uint64(3))
	f.Fuzz(func(t *testing.T, raw []byte, seq uint64) {
		in := bytes.Split(raw, []byte("\n"))
		anchors := []audit.Anchor{{Coordinator: "n1", ServerID: "n1/1", Seq: seq, Hash: audit.HashLine(in[0])}}
		first, err := verify(in, anchors)
		again, errAgain := verify(in, anchors)
		if first != again || (err == nil) != (errAgain == nil) {
			t.Errorf("%+v, %v, then %+v, %v", first, err, again, errAgain)
		}
		if err == nil && first.Lines != len(in) {
			t.Errorf("%d of %d lines were counted", first.Lines, len(in))
		}
	})
}
