package leco_test

import (
	"fmt"
	"testing"

	"github.com/folkmoot/folkmoot/gateway/leco"
)

// Connections on which nobody signs in, or has signed out again, keep no component out and
// cost none that is signed in its connection.
func TestStrangersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	const room = 4
	s := open(t, "n1", func(c *leco.Config) { c.Strangers, c.Transport.MaxConns = room, 3*room })
	in := s.component("CA")
	for i := range 10 * room {
		p := connect(t, s.door.Addr(), fmt.Sprint("C", i))
		if i%2 == 0 {
			p.ask("COORDINATOR", "sign_in", nil)
			p.ask("COORDINATOR", "sign_out", nil)
		}
	}
	s.component("CB")
	in.result(`["CA","CB"]`, "COORDINATOR", "send_local_components", nil)
	if got := s.door.Counts()["displaced_connections"]; got < 9*room {
		t.Errorf("%d connections were displaced, want about %d", got, 9*room)
	}
}
