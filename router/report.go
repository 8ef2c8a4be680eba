package router

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// report says which links of a coordinator are down. One that has not reported
// is expected to have all. Reports go over all links, each only on if it is
// newer than the one before, so that all soon know the same; a link that comes
// up gets all of them.
type report struct {
	number uint64
	down   []string
}

func (r report) isDown(to string) bool { return slices.Contains(r.down, to) }

// maxDown bounds what a report may list.
const maxDown = 1000

// reportOwnLinks tells the others which of the own links are down, unless they know.
func (r *Router) reportOwnLinks(down []string) {
	a := &r.routing
	a.mu.Lock()
	own, ok := a.reports[r.self]
	down = down[:min(len(down), maxDown)]
	if ok && slices.Equal(own.down, down) {
		a.mu.Unlock()
		return
	}
	if own.number == 0 {
		own.number = uint64(time.Now().UnixMilli())
	}
	a.reports[r.self] = report{own.number + 1, down}
	a.mu.Unlock()
	r.broadcastReport(r.self, "")
}

// broadcastReport has a coordinator's report go over all links but that to the
// coordinator it came from.
func (r *Router) broadcastReport(about, from string) {
	for _, l := range r.allLinks() {
		if l.id == from {
			continue
		}
		l.mu.Lock()
		l.queueReport(about)
		l.mu.Unlock()
	}
}

// queueReport has the writer send a coordinator's report as it is then; mu is held.
func (l *outLink) queueReport(about string) {
	if l.version < relayVersion || slices.Contains(l.pendingReports, about) {
		return
	}
	l.pendingReports = append(l.pendingReports, about)
	wake(l.wake)
}

// setPeerVersion notes the version that a pong tells. The first one of a connection
// makes it known, and has all reports sent.
func (l *outLink) setPeerVersion(version byte) {
	l.mu.Lock()
	first := l.version == 0
	l.version = version
	l.mu.Unlock()
	if !first || l.r.mesh {
		return
	}
	a := &l.r.routing
	a.mu.Lock()
	about := slices.Collect(maps.Keys(a.reports))
	a.mu.Unlock()
	l.mu.Lock()
	for _, id := range about {
		l.queueReport(id)
	}
	l.mu.Unlock()
	wake(a.wake)
}

// peerVersion returns the version at the other end while the link is up and that is
// known, else 0.
func (l *outLink) peerVersion() byte {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return 0
	}
	return l.version
}

// appendReports appends a frame for each of the reports that are owed.
func (r *Router) appendReports(dst []byte, about []string) []byte {
	r.routing.mu.Lock()
	defer r.routing.mu.Unlock()
	for _, id := range about {
		rep, ok := r.routing.reports[id]
		if !ok {
			continue
		}
		start := len(dst)
		dst = appendID(beginFrame(dst, kindReport), id)
		dst = binary.BigEndian.AppendUint64(dst, rep.number)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(rep.down)))
		for _, d := range rep.down {
			dst = appendID(dst, d)
		}
		endFrame(dst, start)
	}
	return dst
}

func parseReport(b []byte) (about string, rep report, err error) {
	about, b, err = cutID(b)
	if err != nil {
		return "", rep, err
	}
	if len(b) < 10 {
		return "", rep, protocolErrorf("the report on %s ends early", about)
	}
	rep.number = binary.BigEndian.Uint64(b)
	n := int(binary.BigEndian.Uint16(b[8:]))
	b = b[10:]
	if n > maxDown || n > len(b) {
		return "", rep, protocolErrorf("the report on %s announces %d links", about, n)
	}
	for range n {
		var id string
		if id, b, err = cutID(b); err != nil {
			return "", rep, err
		}
		rep.down = append(rep.down, id)
	}
	if len(b) > 0 {
		return "", rep, protocolErrorf("%d bytes after the report on %s", len(b), about)
	}
	return about, rep, nil
}

// handleReport takes what a coordinator says of its own links or of another's.
func (in *inLink) handleReport(body []byte) error {
	about, rep, err := parseReport(body)
	r := in.r
	if err != nil || r.mesh {
		return err
	}
	a := &r.routing
	a.mu.Lock()
	own := about == r.self
	known, ok := a.reports[about]
	switch {
	case !a.graph.Load().Has(about):
		a.mu.Unlock()
		return nil
	case own && (rep.number > known.number || rep.number == known.number && !slices.Equal(rep.down, known.down)):
		// Of the process before this one, whose clock was ahead.
		known.number = rep.number + 1
		a.reports[about] = known
	case own || ok && rep.number <= known.number:
		a.mu.Unlock()
		return nil
	default:
		a.reports[about] = rep
	}
	a.mu.Unlock()
	if own {
		r.broadcastReport(about, "")
	} else {
		r.broadcastReport(about, in.from)
	}
	wake(a.wake)
	return nil
}

// appendID appends an id as frames hold it.
func appendID(dst []byte, id string) []byte { return append(append(dst, byte(len(id))), id...) }

func cutID(b []byte) (id string, rest []byte, err error) {
	if len(b) < 1 || len(b) < 1+int(b[0]) || b[0] == 0 {
		return "", nil, protocolErrorf("an id is cut short")
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], nil
}
