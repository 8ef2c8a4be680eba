package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Verifier holds the lines of a trail to their chain and to the anchors, one after the other. It keeps three lines and
// those that are anchored, however long the trail is.
type Verifier struct {
	servers []anchoredServer
	wanted  map[uint64]*seen // by the number of a line of which there is an anchor: nil until it was read
	last    *seen            // the line before; nil: none yet
	count   int
	first   uint64
	// doubt is set when a line does not follow the one before it: which of the two was changed only the line after
	// them tells.
	doubt *seen
	err   *Fault
}

// seen is a line that was read.
type seen struct {
	line Line
	hash string
	file string
	n    int
}

// NewVerifier returns a Verifier of a trail of the coordinator whose anchors are those given, in any order.
func NewVerifier(anchors []Anchor) *Verifier {
	v := &Verifier{servers: byServer(anchors), wanted: map[uint64]*seen{}}
	for _, a := range anchors {
		v.wanted[a.Seq] = nil
	}
	return v
}

// Line takes the next line, which is the n-th of its file, without its newline. After the first error, which is a
// *Fault, it takes no further ones.
func (v *Verifier) Line(file string, n int, raw []byte) error {
	if v.err != nil {
		return v.err
	}
	line, err := ParseLine(raw)
	if err != nil {
		return v.unreadable(err, file, n)
	}
	s := &seen{line: line, hash: HashLine(raw), file: file, n: n}
	if v.doubt != nil {
		return v.decide(s)
	}
	if v.last != nil {
		if v.err = v.follows(s); v.err != nil {
			return v.err
		}
		if v.doubt != nil {
			return nil
		}
	}
	return v.accept(s)
}

// unreadable is a line that is none; a doubt about those before it comes first.
func (v *Verifier) unreadable(err error, file string, n int) error {
	if v.doubt != nil {
		return v.changed(v.last)
	}
	var f *Fault
	if errors.As(err, &f) {
		v.err = f.at(file, n)
	}
	return v.err
}

// follows judges s as the line after the last.
func (v *Verifier) follows(s *seen) *Fault {
	want := v.last.line.Seq + 1
	tied := s.line.Prev == v.last.hash
	switch {
	case tied && s.line.Seq == want && s.line.Coordinator != v.last.line.Coordinator:
		return fault(Changed, "it is a line of %q in the trail of %q", s.line.Coordinator, v.last.line.Coordinator).at(s.file, s.n)
	case tied && s.line.Seq == want:
		return nil
	case tied:
		return fault(Changed, "its number is %d where %d belongs", s.line.Seq, want).at(s.file, s.n)
	case s.line.Seq > want:
		return fault(Missing, "%s before it", lines(want, s.line.Seq-1)).at(s.file, s.n)
	case s.line.Seq < want:
		return fault(OutOfOrder, "line number %d comes behind number %d", s.line.Seq, v.last.line.Seq).at(s.file, s.n)
	}
	v.doubt = s
	return nil
}

// decide says which of two lines that do not follow each other was changed: the second if the one after it does not
// follow it either.
func (v *Verifier) decide(after *seen) error {
	if after.line.Seq == v.doubt.line.Seq+1 && after.line.Prev != v.doubt.hash {
		return v.changed(v.doubt)
	}
	return v.changed(v.last)
}

func (v *Verifier) changed(s *seen) error {
	v.err = fault(Changed, "line number %d is not what was written: the hash in the line after it is that of another", s.line.Seq).at(s.file, s.n)
	return v.err
}

// accept moves on to a line that follows.
func (v *Verifier) accept(s *seen) error {
	switch {
	case v.last != nil:
	case s.line.Seq == 1 && s.line.Prev != Zero:
		v.err = fault(Changed, "the first line of all names a line before it").at(s.file, s.n)
		return v.err
	default:
		v.first = s.line.Seq
	}
	if _, wanted := v.wanted[s.line.Seq]; wanted {
		v.wanted[s.line.Seq] = s
	}
	v.last = s
	v.count++
	return nil
}

// Trail is what a Verifier has found.
type Trail struct {
	Lines       int
	First, Last uint64 // numbers of the lines; 0: there are none
	Coordinator string // of the newest line
	Anchors     int    // how many of them were compared
	ServerID    string // whose anchors; "": there are none
	Replaced    string // by which server, where the anchors are not those of the newest; "" otherwise
}

// End judges the end and the anchors, once all lines are read. The error is a *Fault, the first that there is.
func (v *Verifier) End() (Trail, error) {
	t := Trail{Lines: v.count, First: v.first}
	if v.last != nil {
		t.Last, t.Coordinator = v.last.line.Seq, v.last.line.Coordinator
	}
	switch {
	case v.err != nil:
		return t, v.err
	case v.doubt != nil && v.contradicts(v.doubt):
		return t, v.changed(v.doubt)
	case v.doubt != nil: // nothing else tells which of the two it is
		return t, v.changed(v.last)
	}
	server := v.server()
	if server == nil {
		return t, nil
	}
	t.ServerID = server.id
	if newest := v.servers[len(v.servers)-1].id; newest != server.id {
		t.Replaced = newest
	}
	return v.judge(t, server.anchors)
}

// contradicts reports whether there are anchors of a line, and none is of its bytes.
func (v *Verifier) contradicts(s *seen) bool {
	of, fits := false, false
	for i := range v.servers {
		for _, a := range v.servers[i].anchors {
			of = of || a.Seq == s.line.Seq
			fits = fits || a.Seq == s.line.Seq && a.Hash == s.hash
		}
	}
	return of && !fits
}

// judge holds the lines to the anchors of one server.
func (v *Verifier) judge(t Trail, anchors []Anchor) (Trail, error) {
	for _, a := range anchors {
		s := v.wanted[a.Seq]
		switch {
		case a.Seq > t.Last:
			f := cut(t.Last, a)
			if v.last != nil {
				f = f.at(v.last.file, v.last.n)
			}
			return t, f
		case s == nil: // it is older than the files that are kept
		case s.hash != a.Hash:
			return t, another(a).at(s.file, s.n)
		default:
			t.Anchors++
		}
	}
	if newest := anchors[len(anchors)-1]; newest.Seq < t.First { // nothing of what is left was compared
		return t, fault(Missing, "the cluster was told of line number %d at index %d, and the trail begins with number %d", newest.Seq, newest.Index, t.First)
	}
	return t, nil
}

func cut(last uint64, a Anchor) *Fault {
	return fault(Cut, "the trail ends with line number %d, and the cluster was told of number %d at index %d", last, a.Seq, a.Index)
}

func another(a Anchor) *Fault {
	return fault(NotAnchored, "the cluster was told another line number %d at index %d", a.Seq, a.Index)
}

// Holds says where a trail is not the one that an anchor is of, by the page that has the anchor's line first: cut, or not
// the anchored one. nil: it is, or the line is older than what is kept.
func (a Anchor) Holds(p Page) *Fault {
	switch {
	case a.Seq > p.Last:
		return cut(p.Last, a)
	case a.Seq < p.First || len(p.Lines) == 0:
		return nil
	case HashLine(p.Lines[0]) != a.Hash:
		return another(a)
	}
	return nil
}

// anchoredServer is one life of a coordinator, which had one data directory.
type anchoredServer struct {
	id      string
	anchors []Anchor // by the lines they are of
}

// byServer sorts anchors by whose they are, the server that was anchored last behind the others.
func byServer(anchors []Anchor) (servers []anchoredServer) {
	sorted := slices.Clone(anchors)
	slices.SortStableFunc(sorted, func(a, b Anchor) int { return cmp.Compare(a.Index, b.Index) })
	for _, a := range sorted {
		before := anchoredServer{id: a.ServerID}
		if i := slices.IndexFunc(servers, func(s anchoredServer) bool { return s.id == a.ServerID }); i >= 0 {
			before = servers[i]
			servers = slices.Delete(servers, i, i+1)
		}
		before.anchors = append(before.anchors, a)
		servers = append(servers, before)
	}
	for i := range servers {
		slices.SortStableFunc(servers[i].anchors, func(a, b Anchor) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	return servers
}

// server is whose trail this is: the newest with an anchor that fits, since the volume of an earlier one may be looked
// at as well; else the newest of all; nil: there are no anchors.
func (v *Verifier) server() *anchoredServer {
	for i := len(v.servers) - 1; i >= 0; i-- {
		for _, a := range v.servers[i].anchors {
			if s := v.wanted[a.Seq]; s != nil && s.hash == a.Hash {
				return &v.servers[i]
			}
		}
	}
	if len(v.servers) == 0 {
		return nil
	}
	return &v.servers[len(v.servers)-1]
}

func lines(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("line number %d is not there", from)
	}
	return fmt.Sprintf("lines number %d to %d are not there", from, to)
}
