package fsm

// Resource is a part of the state that is read, and waited for, as one.
type Resource int

// The resources. All is the whole of it: every entry counts as its change.
const (
	All          Resource = iota
	Components            // who is signed in
	Coordinators          // where they are, and which namespace each owns
	AddressBook           // both of them
	Workers               // components that run parts, and the parts they hold
	Jobs                  // jobs and parts
	Tokens                // tokens and join tokens
	resources
)

// Changed returns the index at which a resource changed last, at the latest: what
// was before the snapshot that this replica began with counts as of that.
func (s *State) Changed(r Resource) uint64 {
	reg, job := s.Registry.Changed(), s.Jobs.Changed()
	switch r {
	case Components:
		return max(s.loaded, reg.Sessions)
	case Coordinators:
		return max(s.loaded, reg.Coordinators)
	case AddressBook:
		return max(s.loaded, reg.Sessions, reg.Coordinators)
	case Workers:
		return max(s.loaded, reg.Workers, job.Holds)
	case Tokens:
		return max(s.loaded, s.Access.Changed())
	case Jobs:
		return max(s.loaded, job.Jobs)
	default:
		return s.Index
	}
}
