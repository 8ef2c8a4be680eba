package client

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// webSockets is both ends of a WebSocket in memory, the far one in plain bytes.
func webSockets(t *testing.T) (*webSocket, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return &webSocket{body: near, in: bufio.NewReader(near), raw: near}, far
}

// serverFrame is one unmasked WebSocket frame.
func serverFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// What a server sends is read as one stream, however it is cut in frames and however often a deadline passes meanwhile.
func TestWebSocketReadsOnAfterADeadline(t *testing.T) {
	w, far := webSockets(t)
	long := bytes.Repeat([]byte("0123456789"), 20_000)
	sent := serverFrame(0x02, long[:100]) // a message in three frames, with a ping between two
	sent = append(sent, serverFrame(0x89, []byte("there?"))...)
	sent = append(sent, serverFrame(0x00, long[100:50_000])...)
	sent = append(sent, serverFrame(0x80, long[50_000:])...)
	cuts := []int{1, 60, 103, 105, 111, 113, 20_000, len(sent)} // within headers, a ping and payloads
	next := make(chan struct{})
	go func() {
		defer far.Close()
		from := 0
		for _, to := range cuts {
			_, _ = far.Write(sent[from:to])
			from = to
			if to < len(sent) {
				<-next
			}
		}
	}()
	_ = w.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	var got []byte
	deadlines := 0
	buf := make([]byte, 4096)
	for {
		n, err := w.Read(buf)
		got = append(got, buf[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			deadlines++
			_ = w.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			select {
			case next <- struct{}{}:
			default: // it has not come that far
			}
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, long) {
		t.Errorf("read %d bytes in %d turns, want %d as they were sent", len(got), deadlines, len(long))
	}
	if deadlines < len(cuts)-1 {
		t.Errorf("only %d deadlines passed, want one at each of the %d cuts", deadlines, len(cuts)-1)
	}
	if string(w.pong) != "there?" {
		t.Errorf("the ping will be answered by %q, want its own content", w.pong)
	}
}

// Each frame of ours is one masked message; a write that a deadline cut off goes on where it was.
func TestWebSocketWritesOnAfterADeadline(t *testing.T) {
	w, far := webSockets(t)
	var want [][]byte
	var all []byte
	for _, size := range []int{1, 125, 126, 60_000, 70_000, 7} {
		m := wire.Message{To: "n1.laser", Payload: [][]byte{bytes.Repeat([]byte{byte(size)}, size)}}
		b, err := wire.AppendFrame(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		want, all = append(want, b), append(all, b...)
	}
	w.pong = []byte("here")
	got, again := make(chan []byte), make(chan struct{})
	go func() {
		b, _ := io.ReadAll(io.LimitReader(far, 50_000)) // then nothing is taken for a while
		<-again
		rest, _ := io.ReadAll(far)
		got <- append(b, rest...)
	}()
	_ = w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	done, err := w.Write(all)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the first write ends after %d bytes with %v, want at its deadline", done, err)
	}
	close(again)
	_ = w.SetWriteDeadline(time.Time{})
	if n, err := w.Write(all[done:]); err != nil || done+n != len(all) {
		t.Fatalf("the second write: %d of %d bytes, %v", done+n, len(all), err)
	}
	w.Close()
	r := bufio.NewReader(bytes.NewReader(<-got))
	if op, b := clientFrame(t, r); op != opPong || string(b) != "here" {
		t.Errorf("first came a frame of kind %d, %q, want the pong", op, b)
	}
	for i := range want {
		if op, b := clientFrame(t, r); op != opBinary || !bytes.Equal(b, want[i]) {
			t.Fatalf("frame %d: kind %d, %d bytes, want a binary one with the %d bytes of ours", i, op, len(b), len(want[i]))
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("something follows: %v", err)
	}
}

// clientFrame reads one masked frame.
func clientFrame(t *testing.T, r *bufio.Reader) (op byte, payload []byte) {
	t.Helper()
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	head := read(2)
	if head[0]&0xf0 != 0x80 || head[1]&0x80 == 0 {
		t.Fatalf("a frame begins with %x, want one that is whole and masked", head)
	}
	size := int(head[1] & 0x7f)
	switch size {
	case 126:
		size = int(binary.BigEndian.Uint16(read(2)))
	case 127:
		size = int(binary.BigEndian.Uint64(read(8)))
	}
	mask := read(4)
	payload = read(size)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload
}
