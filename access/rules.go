package access

import "github.com/folkmoot/folkmoot/wire"

// KeepGone is how many tokens that are gone are remembered: a rule of level 2, the
// same in every binary for ever.
const KeepGone = 1000

// checkRules refuses a token of which no row can be made.
func (c *Create) checkRules() error {
	switch {
	case c.ID == "":
		return wire.Invalid("id", "id is empty")
	case c.Hash == "":
		return wire.Invalid("hash", "hash is empty")
	case len(c.Grants) == 0:
		return wire.Invalid("grants", "there are no grants")
	}
	return nil
}

// checkRules refuses a join token of which no row can be made.
func (c *CreateJoinToken) checkRules() error {
	switch {
	case c.Hash == "":
		return wire.Invalid("hash", "hash is empty")
	case c.ID == "":
		return wire.Invalid("id", "id is empty")
	case c.Expires.IsZero():
		return wire.Invalid("expires", "a join token expires")
	}
	return nil
}
