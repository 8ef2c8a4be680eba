package zmtp

import (
	"bufio"
	"errors"
	"io"
)

// ReadAll reads messages from r until an error, as a connection would whose
// queue has this limit; answers are the bytes that it would send.
func ReadAll(r io.Reader, maxBytes, maxFrames, queue int) (messages [][][]byte, answers int, err error) {
	c := &Conn{}
	c.out.init(queue)
	c.in.r = bufio.NewReaderSize(r, 16<<10)
	for {
		m, err := c.in.message(maxBytes, maxFrames, c.handleCommand)
		if large := (*TooLarge)(nil); errors.As(err, &large) {
			continue
		}
		if err != nil {
			return messages, len(c.out.takeBatch()), err
		}
		messages = append(messages, m)
	}
}

// MaxCommands is how far commands may go beyond a queue's limit.
const MaxCommands = maxCommands

// ReadHandshake reads the other side's greeting and READY.
func ReadHandshake(r io.Reader, peers ...string) (minor byte, socket, identity string, err error) {
	in := reader{r: bufio.NewReaderSize(r, 16<<10)}
	if minor, err = readGreeting(in.r); err != nil {
		return 0, "", "", err
	}
	socket, identity, err = readReady(&in, peers)
	return minor, socket, identity, err
}

// Handshake is what a side says that has this minor version, type and identity.
func Handshake(minor byte, socket, identity string) []byte {
	b := greeting()
	b[11] = minor
	body := appendProperty(nil, "Socket-Type", socket)
	return append(b, appendCommand(nil, "READY", appendProperty(body, "Identity", identity))...)
}
