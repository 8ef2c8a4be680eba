package tcp

import (
	"net"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
)

// Terms stand in for a session's connection.
type Terms struct{ Limit int }

func (t Terms) MaxFrame() int  { return t.Limit }
func (t Terms) SignedIn() bool { return true }
func (t Terms) Ended() bool    { return false }

// ReadAll reads frames from conn until an error, as a session would that may
// be sent frames of at most limit bytes.
func ReadAll(conn net.Conn, limit int) (messages []wire.Message, err error) {
	rd := newReader(&line{conn: conn}, awake.AfterFunc(time.Hour, func() {}), time.Hour)
	defer rd.release()
	for {
		m, err := rd.next(Terms{limit})
		if err != nil {
			return messages, err
		}
		m.CopyPayload() // its bytes are the reader's again
		messages = append(messages, m)
	}
}
