//go:build unix

package session_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// One session after the other on one connection, over a log that costs next to
// nothing: what the door, the use cases and the state machine do for a sign-in
// and a sign-out.
func BenchmarkSignInOut(b *testing.B) {
	w := newTestCluster(b, settings{}, "n1")
	g := w.nodes["n1"].dial(b, wire.LongestPing)
	ask := func(content string) []byte {
		f, err := wire.AppendFrame(nil, &wire.Message{To: wire.Coordinator, Type: wire.TypeJSON, Payload: [][]byte{[]byte(content)}})
		must(b, err)
		return f
	}
	in := ask(`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser","lease":"1h0m0s","labels":{"v":"` + strings.Repeat("v", 256) + `"}}}`)
	out := ask(`{"jsonrpc":"2.0","id":1,"method":"sign_out"}`)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processorTime()
	for range b.N {
		for _, frame := range [][]byte{in, out} {
			g.write(frame)
			head, err := g.raw.Peek(4)
			must(b, err)
			answer, err := g.raw.Peek(4 + int(binary.BigEndian.Uint32(head)))
			must(b, err)
			if !bytes.Contains(answer, []byte(`{"id":1,"result":`)) {
				b.Fatalf("refused: %q", answer)
			}
			_, _ = g.raw.Discard(len(answer))
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op")
	g.conn.Close()
}
