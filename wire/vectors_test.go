package wire_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/textframe"
)

// The vectors of docs/protocol.md are read by the tests of every SDK; with
// -update this test writes them.
var update = flag.Bool("update", false, "write docs/vectors")

type (
	preambleVector struct {
		Name    string `json:"name"`
		Hex     string `json:"hex"`
		Version byte   `json:"version"`
		Ping    int    `json:"ping"`
	}
	refusedVector struct {
		Name   string   `json:"name"`
		Hex    string   `json:"hex,omitempty"`
		Frames []string `json:"frames,omitempty"`
		Error  string   `json:"error,omitempty"`
	}
	frameVector struct {
		Name         string   `json:"name"`
		Hex          string   `json:"hex,omitempty"`
		Text         string   `json:"text,omitempty"`
		To           string   `json:"to"`
		From         string   `json:"from"`
		Conversation string   `json:"conversation"`
		ID           uint32   `json:"id"`
		Type         byte     `json:"type"`
		Payload      []string `json:"payload"`
	}
	controlVector struct {
		Name     string    `json:"name"`
		Hex      string    `json:"hex"`
		Kind     string    `json:"kind"`
		Data     *string   `json:"data,omitempty"`
		IDs      []uint32  `json:"ids,omitempty"`
		Code     wire.Code `json:"code,omitempty"`
		Message  string    `json:"message,omitempty"`
		Transfer uint32    `json:"transfer,omitempty"`
		Flags    byte      `json:"flags,omitempty"`
		Total    uint32    `json:"total,omitempty"`
		Piece    string    `json:"piece,omitempty"`
	}
	chunksVector struct {
		Name         string   `json:"name"`
		FrameSize    int      `json:"frame_size"`
		FrameSHA     string   `json:"frame_sha256"`
		To           string   `json:"to"`
		From         string   `json:"from"`
		Conversation string   `json:"conversation"`
		ID           uint32   `json:"id"`
		Type         byte     `json:"type"`
		PayloadSizes []int    `json:"payload_sizes"`
		PayloadByte  byte     `json:"payload_byte"`
		PieceSize    int      `json:"piece_size"`
		Transfer     uint32   `json:"transfer"`
		Chunks       []string `json:"chunks"`
	}
	vectors[V any] struct {
		Valid   []V             `json:"valid"`
		Refused []refusedVector `json:"refused,omitempty"`
	}
)

var conversation = [16]byte{0x01, 0x90, 0x8f, 0x3e, 0x2a, 0x11, 0x7c, 0x22, 0x9b, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07}

func frameOf(t *testing.T, m wire.Message) []byte {
	t.Helper()
	b, err := wire.AppendFrame(nil, &m)
	if err != nil {
		t.Fatalf("frame of %+v: %v", m, err)
	}
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func vectorOf(t *testing.T, name string, m wire.Message) frameVector {
	t.Helper()
	v := frameVector{
		Name: name, Hex: hex.EncodeToString(frameOf(t, m)), To: m.To, From: m.From,
		Conversation: hex.EncodeToString(m.Conversation[:]), ID: m.ID, Type: m.Type, Payload: []string{},
	}
	for _, p := range m.Payload {
		v.Payload = append(v.Payload, hex.EncodeToString(p))
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("hex %q: %v", s, err)
	}
	return b
}

func load[V any](t *testing.T, file string, made func() vectors[V]) vectors[V] {
	t.Helper()
	path := filepath.Join("..", "docs", "vectors", file)
	if *update {
		b, err := json.MarshalIndent(made(), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors[V]
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(v.Valid) == 0 {
		t.Fatalf("%s holds no vectors", file)
	}
	return v
}

func TestPreambleVectors(t *testing.T) {
	v := load(t, "preamble.json", func() vectors[preambleVector] {
		var v vectors[preambleVector]
		add := func(name string, version byte, ping int) {
			p := wire.Preamble{Version: version, Ping: time.Duration(ping) * time.Second}
			v.Valid = append(v.Valid, preambleVector{name, hex.EncodeToString(p.Append(nil)), version, ping})
		}
		add("default", 1, 2)
		add("no wish", 1, 0)
		add("slow", 1, 60)
		add("none spoken", 0, 2)
		v.Refused = []refusedVector{
			{Name: "HTTP", Hex: hex.EncodeToString([]byte("GET / HT"))},
			{Name: "TLS", Hex: "1603010200010001"},
			{Name: "reserved bytes", Hex: "464f4c4b01020001"},
			{Name: "short", Hex: "464f4c4b0102"},
		}
		return v
	})
	for _, c := range v.Valid {
		p, err := wire.ParsePreamble(unhex(t, c.Hex))
		if want := (wire.Preamble{Version: c.Version, Ping: time.Duration(c.Ping) * time.Second}); err != nil || p != want {
			t.Errorf("preamble %q: got %+v, %v, want %+v", c.Name, p, err, want)
		}
		if got := hex.EncodeToString(p.Append(nil)); got != c.Hex {
			t.Errorf("preamble %q is written as %s, want %s", c.Name, got, c.Hex)
		}
	}
	for _, c := range v.Refused {
		if p, err := wire.ParsePreamble(unhex(t, c.Hex)); err == nil {
			t.Errorf("preamble %q was taken as %+v", c.Name, p)
		}
	}
}

func TestFrameVectors(t *testing.T) {
	v := load(t, "frames.json", func() vectors[frameVector] {
		request := []byte(`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser"}}`)
		plain := wire.Message{To: "n2.laser", From: "n1.gui", Conversation: conversation, ID: 7, Type: 1, Payload: [][]byte{[]byte(`{"jsonrpc":"2.0","id":1,"method":"pong"}`)}}
		v := vectors[frameVector]{Valid: []frameVector{
			vectorOf(t, "smallest", wire.Message{}),
			vectorOf(t, "request", plain),
			vectorOf(t, "sign in", wire.Message{To: "COORDINATOR", Conversation: conversation, Type: 1, Payload: [][]byte{request}}),
			vectorOf(t, "heartbeat", wire.Message{To: "COORDINATOR", From: "n1.gui", Conversation: conversation}),
			vectorOf(t, "attachments, one of them empty", wire.Message{To: "n2.camera", From: "n1.gui", Conversation: conversation, ID: wire.MaxID, Type: 255, Payload: [][]byte{{0, 1, 2, 255}, {}, []byte("three")}}),
			vectorOf(t, "no conversation", wire.Message{To: "laser", Payload: [][]byte{{}}}),
			vectorOf(t, "longest names", wire.Message{To: string(bytes.Repeat([]byte("t"), wire.MaxFullName)), From: string(bytes.Repeat([]byte("f"), wire.MaxFullName)), Conversation: conversation}),
		}}
		whole := frameOf(t, plain)
		broken := func(name, code string, change func(b []byte) []byte) {
			v.Refused = append(v.Refused, refusedVector{Name: name, Error: code, Hex: hex.EncodeToString(change(bytes.Clone(whole)))})
		}
		length := func(n uint32) func([]byte) []byte {
			return func(b []byte) []byte { binary.BigEndian.PutUint32(b, n); return b }
		}
		broken("length 0", "invalid", length(0))
		broken("length 26", "invalid", length(26))
		broken("length one above the limit", "too_large", length(wire.MaxFrame+1))
		broken("length 2^32-1", "too_large", length(1<<32-1))
		broken("cut in the length", "short", func(b []byte) []byte { return b[:3] })
		broken("cut before the last byte", "short", func(b []byte) []byte { return b[:len(b)-1] })
		broken("version 0", "invalid", func(b []byte) []byte { b[4] = 0; return b })
		broken("version 2", "invalid", func(b []byte) []byte { b[4] = 2; return b })
		broken("receiver of 512 bytes", "invalid", func(b []byte) []byte { b[5], b[6] = 2, 0; return b })
		broken("receiver longer than the frame", "invalid", func(b []byte) []byte { b[5], b[6] = 1, 0xff; return b })
		broken("more payload frames than bytes", "invalid", func(b []byte) []byte {
			at := 4 + 1 + 2 + 8 + 2 + 6 + 20
			b[at], b[at+1] = 0xff, 0xff
			return b
		})
		broken("payload frame longer than the frame", "invalid", func(b []byte) []byte {
			at := 4 + 1 + 2 + 8 + 2 + 6 + 20 + 2
			b[at] = 0x7f
			return b
		})
		broken("a byte behind the last payload frame", "invalid", func(b []byte) []byte {
			binary.BigEndian.PutUint32(b, uint32(len(b)-4+1))
			return append(b, 0)
		})
		return v
	})
	for _, c := range v.Valid {
		b := unhex(t, c.Hex)
		m, n, err := wire.ParseFrame(b, nil)
		if err != nil || n != len(b) {
			t.Errorf("frame %q: read %d of %d bytes, %v", c.Name, n, len(b), err)
			continue
		}
		if diff := cmp.Diff(c, vectorOf(t, c.Name, m)); diff != "" {
			t.Errorf("frame %q (-vector +ours):\n%s", c.Name, diff)
		}
	}
	for _, c := range v.Refused {
		_, _, err := wire.ParseFrame(unhex(t, c.Hex), nil)
		got := string(wire.CodeOf(err))
		if errors.Is(err, io.ErrUnexpectedEOF) {
			got = "short"
		}
		if got != c.Error {
			t.Errorf("frame %q is %q (%v), want %q", c.Name, got, err, c.Error)
		}
	}
}

func TestControlFrameVectors(t *testing.T) {
	v := load(t, "about.json", func() vectors[controlVector] {
		text := func(s string) *string { return &s }
		receipt := []byte{0, 0, 1, 0, 0, 2, 0xff, 0xff, 0xff}
		inner := frameOf(t, wire.Message{To: "n2.laser", From: "n1.gui", Conversation: conversation, Type: 1, Payload: [][]byte{[]byte("{}")}})
		chunk, _ := wire.AppendChunk(nil, 5, inner, 0)
		abort := frameOf(t, wire.Message{Type: wire.TypeChunk, ID: 5, Payload: [][]byte{{wire.ChunkAbort}}})
		return vectors[controlVector]{Valid: []controlVector{
			{Name: "ping", Hex: hex.EncodeToString(wire.AppendControlFrame(nil, wire.TypePing, nil)), Kind: "ping"},
			{Name: "ping with data", Hex: hex.EncodeToString(wire.AppendControlFrame(nil, wire.TypePing, []byte("12345678"))), Kind: "ping", Data: text("3132333435363738")},
			{Name: "pong with data", Hex: hex.EncodeToString(wire.AppendControlFrame(nil, wire.TypePong, []byte("12345678"))), Kind: "pong", Data: text("3132333435363738")},
			{Name: "receipt of three", Hex: hex.EncodeToString(wire.AppendControlFrame(nil, wire.TypeReceipt, receipt)), Kind: "receipt", IDs: []uint32{1, 2, wire.MaxID}},
			{Name: "bye", Hex: hex.EncodeToString(wire.AppendBye(nil, wire.NotTried("this coordinator stops"))), Kind: "bye", Code: wire.CodeUnavailable, Message: "this coordinator stops"},
			{Name: "a frame in one chunk", Hex: hex.EncodeToString(chunk), Kind: "chunk", Transfer: 5, Flags: 3, Total: uint32(len(inner)), Piece: hex.EncodeToString(inner)},
			{Name: "abandoned", Hex: hex.EncodeToString(abort), Kind: "chunk", Transfer: 5, Flags: 4},
		}}
	})
	kinds := map[byte]string{wire.TypePing: "ping", wire.TypePong: "pong", wire.TypeChunk: "chunk", wire.TypeReceipt: "receipt", wire.TypeBye: "bye"}
	for _, c := range v.Valid {
		m, _, err := wire.ParseFrame(unhex(t, c.Hex), nil)
		if err != nil || m.To != "" || kinds[m.Type] != c.Kind {
			t.Errorf("frame %q: got %+v, %v", c.Name, m, err)
			continue
		}
		got := controlVector{Name: c.Name, Hex: c.Hex, Kind: kinds[m.Type]}
		switch {
		case m.Type == wire.TypeChunk:
			got.Transfer, got.Flags = m.ID, m.Payload[0][0]
			if got.Flags&wire.ChunkFirst != 0 {
				got.Total = binary.BigEndian.Uint32(m.Payload[0][1:])
			}
			if len(m.Payload) > 1 {
				got.Piece = hex.EncodeToString(m.Payload[1])
			}
		case m.Type == wire.TypeReceipt:
			for b := m.Payload[0]; len(b) >= 3; b = b[3:] {
				got.IDs = append(got.IDs, uint32(b[0])<<16|uint32(b[1])<<8|uint32(b[2]))
			}
		case m.Type == wire.TypeBye:
			var e wire.Error
			if err := json.Unmarshal(m.Payload[0], &e); err != nil {
				t.Errorf("bye of %q: %v", c.Name, err)
			}
			got.Code, got.Message = e.Code, e.Message
		case len(m.Payload) > 0:
			data := hex.EncodeToString(m.Payload[0])
			got.Data = &data
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("frame %q (-vector +ours):\n%s", c.Name, diff)
		}
	}
}

func TestChunkVectors(t *testing.T) {
	message := func(c chunksVector) wire.Message {
		m := wire.Message{To: c.To, From: c.From, ID: c.ID, Type: c.Type}
		copy(m.Conversation[:], unhex(t, c.Conversation))
		for _, n := range c.PayloadSizes {
			m.Payload = append(m.Payload, bytes.Repeat([]byte{c.PayloadByte}, n))
		}
		return m
	}
	cut := func(frame []byte, transfer uint32) (chunks [][]byte) {
		for at := 0; at < len(frame); {
			var b []byte
			b, at = wire.AppendChunk(nil, transfer, frame, at)
			chunks = append(chunks, b)
		}
		return chunks
	}
	v := load(t, "chunks.json", func() vectors[chunksVector] {
		var v vectors[chunksVector]
		for _, c := range []chunksVector{
			{Name: "100,000 bytes", ID: 7, PayloadSizes: []int{100_000}, PayloadByte: 0x41, Transfer: 1},
			{Name: "three payload frames", Type: 200, PayloadSizes: []int{70_000, 0, 30_000}, PayloadByte: 0, Transfer: wire.MaxID},
			{Name: "a frame of exactly two pieces", PayloadSizes: []int{2*wire.MaxPiece - 49}, PayloadByte: 0x20, Transfer: 2},
		} {
			c.To, c.From, c.Conversation, c.PieceSize = "n2.laser", "n1.gui", hex.EncodeToString(conversation[:]), wire.MaxPiece
			frame := frameOf(t, message(c))
			c.FrameSize, c.FrameSHA = len(frame), sum(frame)
			for _, b := range cut(frame, c.Transfer) {
				c.Chunks = append(c.Chunks, sum(b))
			}
			v.Valid = append(v.Valid, c)
		}
		small := frameOf(t, wire.Message{To: "n2.laser", Conversation: conversation, Payload: [][]byte{[]byte("0123456789")}})
		chunk := func(transfer uint32, payload ...[]byte) string {
			return hex.EncodeToString(frameOf(t, wire.Message{Type: wire.TypeChunk, ID: transfer, Payload: payload}))
		}
		first := func(total int) []byte { return binary.BigEndian.AppendUint32([]byte{wire.ChunkFirst}, uint32(total)) }
		only := func(total int) []byte {
			return binary.BigEndian.AppendUint32([]byte{wire.ChunkFirst | wire.ChunkLast}, uint32(total))
		}
		v.Refused = []refusedVector{
			{Name: "not begun", Frames: []string{chunk(1, []byte{0}, small)}},
			{Name: "begun twice", Frames: []string{chunk(1, first(len(small)), small[:5]), chunk(1, first(len(small)), small[5:])}},
			{Name: "longer than announced", Frames: []string{chunk(1, first(8), small)}},
			{Name: "shorter than announced", Frames: []string{chunk(1, only(len(small)+1), small)}},
			{Name: "too large", Frames: []string{chunk(1, first(wire.MaxFrame+5), small)}},
			{Name: "unknown flag", Frames: []string{chunk(1, []byte{8}, small)}},
			{Name: "no flags", Frames: []string{chunk(1)}},
			{Name: "first without a length", Frames: []string{chunk(1, []byte{wire.ChunkFirst}, small)}},
			{Name: "no frame inside", Frames: []string{chunk(1, only(4), []byte("nope"))}},
			{Name: "a ping inside", Frames: []string{chunk(1, only(len(wire.AppendControlFrame(nil, wire.TypePing, nil))), wire.AppendControlFrame(nil, wire.TypePing, nil))}},
			{Name: "five at once", Frames: []string{chunk(1, first(99)), chunk(2, first(99)), chunk(3, first(99)), chunk(4, first(99)), chunk(5, first(99))}},
		}
		return v
	})
	for _, c := range v.Valid {
		want := message(c)
		frame := frameOf(t, want)
		if len(frame) != c.FrameSize || sum(frame) != c.FrameSHA {
			t.Errorf("frame %q has %d bytes of sum %s, want %d of %s", c.Name, len(frame), sum(frame), c.FrameSize, c.FrameSHA)
			continue
		}
		var parts wire.Reassembler
		for i, b := range cut(frame, c.Transfer) {
			if sum(b) != c.Chunks[i] {
				t.Errorf("chunk %d of %q differs", i, c.Name)
			}
			chunk, _, err := wire.ParseFrame(b, nil)
			if err != nil {
				t.Fatalf("chunk %d of %q: %v", i, c.Name, err)
			}
			m, whole, err := parts.Add(&chunk)
			if err != nil || whole != (i == len(c.Chunks)-1) {
				t.Fatalf("chunk %d of %q: whole %t, %v", i, c.Name, whole, err)
			}
			if whole {
				if diff := cmp.Diff(want, m); diff != "" {
					t.Errorf("message of %q differs (-want +got):\n%.500s", c.Name, diff)
				}
			}
		}
	}
	for _, c := range v.Refused {
		var parts wire.Reassembler
		var err error
		for _, f := range c.Frames {
			chunk, _, perr := wire.ParseFrame(unhex(t, f), nil)
			if perr != nil {
				t.Fatalf("%q: %v", c.Name, perr)
			}
			_, _, err = parts.Add(&chunk)
		}
		if err == nil {
			t.Errorf("chunks %q were taken", c.Name)
		}
	}
}

func TestTextVectors(t *testing.T) {
	v := load(t, "text.json", func() vectors[frameVector] {
		add := func(v *vectors[frameVector], name, text string) {
			m, err := textframe.Parse([]byte(text))
			if err != nil {
				t.Fatalf("text %q: %v", name, err)
			}
			c := vectorOf(t, name, m)
			c.Hex, c.Text = "", text
			v.Valid = append(v.Valid, c)
		}
		var v vectors[frameVector]
		add(&v, "request", `{"to":"n2.laser","from":"n1.gui","conversation_id":"01908f3e-2a11-7c22-9b01-020304050607","id":7,"type":1,"content":{"jsonrpc":"2.0","id":1,"method":"pong"}}`)
		add(&v, "bytes only", `{"to":"n2.laser","conversation_id":"01908f3e-2a11-7c22-9b01-020304050607","type":200,"payload":["AAEC/w=="]}`)
		add(&v, "content and attachment", `{"to":"n2.laser","content":{"a":1},"payload":["aGVsbG8=",""]}`)
		add(&v, "heartbeat", `{"to":"COORDINATOR"}`)
		for _, bad := range [][2]string{{"no receiver", `{"content":1}`}, {"unknown member", `{"to":"a","colour":1}`}, {"no UUID", `{"to":"a","conversation_id":"7"}`}, {"two frames", `{"to":"a"}{"to":"b"}`}, {"id of four bytes", `{"to":"a","id":16777216}`}, {"no base64", `{"to":"a","payload":["?"]}`}} {
			v.Refused = append(v.Refused, refusedVector{Name: bad[0], Hex: hex.EncodeToString([]byte(bad[1]))})
		}
		return v
	})
	for _, c := range v.Valid {
		m, err := textframe.Parse([]byte(c.Text))
		if err != nil {
			t.Errorf("text %q: %v", c.Name, err)
			continue
		}
		got := vectorOf(t, c.Name, m)
		got.Hex, got.Text = "", c.Text
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("text %q (-vector +ours):\n%s", c.Name, diff)
		}
		b, err := textframe.Append(nil, &m)
		if err != nil {
			t.Errorf("text of %q: %v", c.Name, err)
			continue
		}
		if again, err := textframe.Parse(b); err != nil || cmp.Diff(m, again) != "" {
			t.Errorf("text %q is read back from %s as %+v, %v", c.Name, b, again, err)
		}
	}
	for _, c := range v.Refused {
		if m, err := textframe.Parse(unhex(t, c.Hex)); err == nil {
			t.Errorf("text %q was taken as %+v", c.Name, m)
		}
	}
}
