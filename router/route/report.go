package route

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Report says which links of a coordinator are down. One that has not reported
// is expected to have all. Reports go over all links, each only on if it is
// newer than the one before, so that all soon know the same; a link that comes
// up gets all of them.
type Report struct {
	Number uint64 // higher in each report of one coordinator
	Down   []string
}

func (r Report) isDown(to string) bool { return slices.Contains(r.Down, to) }

// maxDown bounds what a report may list.
const maxDown = 1000

// Append appends the report on a coordinator as a frame holds it.
func (r Report) Append(dst []byte, about string) []byte {
	dst = appendID(dst, about)
	dst = binary.BigEndian.AppendUint64(dst, r.Number)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Down)))
	for _, d := range r.Down {
		dst = appendID(dst, d)
	}
	return dst
}

// ParseReport reads what Append wrote.
func ParseReport(b []byte) (about string, r Report, err error) {
	about, b, err = cutID(b)
	if err != nil {
		return "", r, err
	}
	if len(b) < 10 {
		return "", r, fmt.Errorf("the report on %s ends early", about)
	}
	r.Number = binary.BigEndian.Uint64(b)
	n := int(binary.BigEndian.Uint16(b[8:]))
	b = b[10:]
	if n > maxDown || n > len(b) {
		return "", r, fmt.Errorf("the report on %s announces %d links", about, n)
	}
	for range n {
		var id string
		if id, b, err = cutID(b); err != nil {
			return "", r, err
		}
		r.Down = append(r.Down, id)
	}
	if len(b) > 0 {
		return "", r, fmt.Errorf("%d bytes after the report on %s", len(b), about)
	}
	return about, r, nil
}
