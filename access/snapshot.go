package access

import (
	"errors"
	"fmt"
	"iter"
)

// Names of the tables in a snapshot, in the order they are written.
const (
	rowToken = "access.token"
	rowGone  = "access.gone"

	TableJoinTokens = "access.join_token"
)

// Rows yields every row with the name of its table, in the order a snapshot has
// them. A row is good only until the next one.
func (t *Table) Rows() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		_ = each(rowToken, t.Tokens(), yield) && each(rowGone, t.view().gone.all(), yield) && each(TableJoinTokens, t.JoinTokens(), yield)
	}
}

func each[R any](name string, rows iter.Seq[R], yield func(string, any) bool) bool {
	var row R
	for row = range rows {
		if !yield(name, &row) {
			return false
		}
	}
	return true
}

// Load puts one row of a snapshot into a table that is being built. decode fills
// its argument with the row. known is false when the table's name is not one of
// this package's.
func (t *Table) Load(name string, decode func(any) error) (known bool, err error) {
	switch name {
	case rowToken:
		return true, t.loadToken(decode)
	case rowGone:
		return true, t.writable().gone.load(decode)
	case TableJoinTokens:
		return true, t.loadJoinToken(decode)
	}
	return false, nil
}

func (t *Table) loadToken(decode func(any) error) error {
	row := new(Token)
	if err := decode(row); err != nil {
		return err
	}
	_, named := t.view().tokens.Get(row.ID)
	_, known := t.view().hashes.Get(row.Hash)
	if named || known || row.ID == "" || row.Hash == "" || len(row.Grants) == 0 {
		return fmt.Errorf("token %q is there twice, or has no secret or no grants", row.ID)
	}
	t.writable().putToken(row)
	return nil
}

func (t *Table) loadJoinToken(decode func(any) error) error {
	row := new(JoinToken)
	if err := decode(row); err != nil {
		return err
	}
	if _, twice := t.view().joinTokens.Get(row.Hash); twice || row.Hash == "" || row.Expires.IsZero() {
		return fmt.Errorf("a join token for %q is there twice, or has no secret or no end", row.ID)
	}
	t.writable().putJoinToken(row)
	return nil
}

// Verify says where rows and what is derived from them contradict each other; nil
// when they do not. It reads every row: it is for tests and for a restored
// snapshot.
func (t *Table) Verify() error {
	r := t.view()
	return errors.Join(r.verify(), r.gone.verify())
}

func (r *rows) verify() (err error) {
	ends := r.joinTokens.Len()
	r.tokens.Scan(func(id string, row *Token) bool {
		by, ok := r.hashes.Get(row.Hash)
		e, listed := r.expiring.Get(row.place())
		switch {
		case row.ID != id || !ok || by != row:
			err = fmt.Errorf("token %s is not found by its secret", id)
		case listed != !row.Expires.IsZero() || listed && e.token != row:
			err = fmt.Errorf("token %s ends at %v; among those that end: %v", id, row.Expires, listed)
		case listed:
			ends++
		}
		if _, gone := r.gone.get(id); gone && err == nil {
			err = fmt.Errorf("token %s is there and gone", id)
		}
		return err == nil
	})
	r.joinTokens.Scan(func(hash string, row *JoinToken) bool {
		if e, ok := r.expiring.Get(row.place()); err == nil && (!ok || e.joinToken != row || row.Hash != hash) {
			err = fmt.Errorf("the join token for %s is not among those that end", row.ID)
		}
		return err == nil
	})
	if err == nil && (r.hashes.Len() != r.tokens.Len() || r.expiring.Len() != ends) {
		err = fmt.Errorf("%d tokens are %d by secret; %d of all end, %d are counted", r.tokens.Len(), r.hashes.Len(), ends, r.expiring.Len())
	}
	return err
}
