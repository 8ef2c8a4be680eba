package audit

import "fmt"

// Kind says how a trail is not as it was written.
type Kind string

// The kinds.
const (
	Changed     Kind = "changed"
	Missing     Kind = "missing"
	OutOfOrder  Kind = "out of order"
	Cut         Kind = "cut"
	NotAnchored Kind = "not the anchored one"
)

// Fault is the first place at which a trail is not as it was written.
type Fault struct {
	File string // "" is not known
	Line int    // from 1; 0: the file as a whole
	Kind Kind
	Why  string
}

func fault(k Kind, format string, args ...any) *Fault {
	return &Fault{Kind: k, Why: fmt.Sprintf(format, args...)}
}

func (f *Fault) Error() string {
	place := f.File
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	if place != "" {
		place += ": "
	}
	return place + string(f.Kind) + ": " + f.Why
}

// at returns the fault with its place.
func (f *Fault) at(file string, line int) *Fault {
	f.File, f.Line = file, line
	return f
}
