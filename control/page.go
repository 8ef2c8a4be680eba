package control

import "github.com/folkmoot/folkmoot/wire"

// Page is one page of a list: at most Limit rows (0: DefaultPage, at most
// MaxPage) that come after the row After.
type Page struct {
	Limit int
	After string
}

// Sizes of pages.
const (
	DefaultPage = 1000
	MaxPage     = 10_000
)

// Size returns the limit. Errors: invalid.
func (p Page) Size() (int, error) {
	switch {
	case p.Limit < 0 || p.Limit > MaxPage:
		return 0, wire.Invalid("limit", "limit is 1 to %d, not %d", MaxPage, p.Limit)
	case p.Limit == 0:
		return DefaultPage, nil
	}
	return p.Limit, nil
}
