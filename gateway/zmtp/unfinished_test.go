package zmtp_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Messages that begin and never end do not add up over connections: of too many the one that
// began first ends its connection, and one that comes quickly gets through.
func TestMessagesWithoutEndAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 8 << 20
	budget := unfinished.New(limit)
	s := serve(t, zmtp.Config{Unfinished: budget, Patience: time.Minute, Silence: time.Minute}, echo)
	var conns []net.Conn
	for range 8 {
		conn := raw(t, s.Addr(), dealer+"\x02\x00\x00\x00\x00\x02\x00\x00\x00")
		_, _ = conn.Write(make([]byte, 3<<20)) // it may be closed meanwhile
		conns = append(conns, conn)
	}
	for i, conn := range conns[:4] {
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d is still open", i)
		}
	}
	answers(t, dial(t, s.Addr(), zmtp.Config{Socket: "DEALER"}), make([]byte, 3<<20))
	if used, given := budget.Counts(); used > limit || given < 4 {
		t.Errorf("%d bytes are held and %d messages were given up, want at most %d, and at least 4", used, given, limit)
	}
}
