package access

// TakeIn adds the tokens of a file to the table: those of which it knows neither the id nor
// the secret, and which are not gone here. If this table never had a token, what is known of
// the file's that are gone comes too. Indices are lowered where the file is ahead of this
// log. No event tells of it.
func (t *Table) TakeIn(file *Table, lower func(index uint64) uint64) {
	first := !t.Required()
	for row := range file.Tokens() {
		_, named := t.Token(row.ID)
		_, known := t.TokenByHash(row.Hash)
		_, gone := t.Gone(row.ID)
		_, goneSecret := t.GoneByHash(row.Hash)
		if named || known || gone || goneSecret {
			continue
		}
		row.Index = lower(row.Index)
		t.writable().putToken(&row)
	}
	if !first {
		return
	}
	for row := range file.view().gone.all() {
		if _, named := t.Token(row.ID); !named {
			row.Index = lower(row.Index)
			t.writable().gone.put(&row)
		}
	}
}
