package client_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/client"
)

// The ids of conversations are UUIDs of version 7 of this moment, and no two are alike.
func TestConversationsAreUUIDs(t *testing.T) {
	seen := map[uuid.UUID]bool{}
	before := time.Now().Truncate(time.Millisecond)
	for range 100_000 {
		id := uuid.UUID(client.NewConversation())
		if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
			t.Fatalf("%s is of version %d, %s", id, id.Version(), id.Variant())
		}
		sec, nsec := id.Time().UnixTime()
		if at := time.Unix(sec, nsec); at.Before(before) || at.After(time.Now().Add(time.Millisecond)) {
			t.Fatalf("%s is of %s, and now it is %s", id, at, time.Now())
		}
		if seen[id] {
			t.Fatalf("%s came twice", id)
		}
		seen[id] = true
	}
}
