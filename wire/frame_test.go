package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/wire"
)

var example = wire.Message{
	To: "n1.a", From: "n2.bc",
	Conversation: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	ID:           0x010203, Type: wire.TypeJSON,
	Payload: [][]byte{[]byte("{}"), {}, {0xff}},
}

// The layout is for ever: a change needs another version byte.
func TestFrameLayout(t *testing.T) {
	const want = "00000033" + "01" + "0004" + "6e312e61" + "0005" + "6e322e6263" +
		"000102030405060708090a0b0c0d0e0f" + "010203" + "01" +
		"0003" + "00000002" + "7b7d" + "00000000" + "00000001" + "ff"
	b, err := wire.AppendFrame(nil, &example)
	if err != nil || hex.EncodeToString(b) != want {
		t.Fatalf("got  %x, %v\nwant %s", b, err, want)
	}
	if len(b) != example.FrameSize() {
		t.Errorf("FrameSize is %d, the frame has %d bytes", example.FrameSize(), len(b))
	}
	m, n, err := wire.ParseFrame(append(b, "next"...), nil)
	if err != nil || n != len(b) {
		t.Fatalf("parsed %d bytes, %v, want %d", n, err, len(b))
	}
	if d := cmp.Diff(example, m); d != "" {
		t.Errorf("want -, got +:\n%s", d)
	}
}

// A message without payload (LECO's heartbeat) is a frame too, and every cut
// of a frame is an error that says so.
func TestFrameCutShort(t *testing.T) {
	for _, m := range []wire.Message{example, {}} {
		b, err := wire.AppendFrame(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			if _, _, err := wire.ParseFrame(b[:i], nil); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("parsing %d of %d bytes: %v, want unexpected EOF", i, len(b), err)
			}
			_, err := wire.NewFrameReader(bytes.NewReader(b[:i])).Next()
			want := io.ErrUnexpectedEOF
			if i == 0 {
				want = io.EOF
			}
			if !errors.Is(err, want) {
				t.Errorf("reading %d of %d bytes: %v, want %v", i, len(b), err, want)
			}
		}
	}
}

func TestFrameRefused(t *testing.T) {
	valid, err := wire.AppendFrame(nil, &example)
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, b ...byte) []byte {
		c := append([]byte(nil), valid...)
		copy(c[at:], b)
		return c
	}
	for what, c := range map[string]struct {
		b    []byte
		code wire.Code
	}{
		"length 0":             {with(0, 0, 0, 0, 0), wire.CodeInvalid},
		"length 26":            {with(0, 0, 0, 0, 26), wire.CodeInvalid},
		"length 2^31-1":        {with(0, 0x7f, 0xff, 0xff, 0xff), wire.CodeTooLarge},
		"length 2^32-1":        {with(0, 0xff, 0xff, 0xff, 0xff), wire.CodeTooLarge},
		"version 0":            {with(4, 0), wire.CodeInvalid},
		"receiver beyond end":  {with(5, 0, 200), wire.CodeInvalid},
		"receiver of 64 KiB":   {with(5, 0xff, 0xff), wire.CodeInvalid},
		"sender beyond end":    {with(11, 0, 200), wire.CodeInvalid},
		"no room for header":   {with(11, 0, 30), wire.CodeInvalid},
		"65,535 frames":        {with(38, 0xff, 0xff), wire.CodeInvalid},
		"too few frames":       {with(38, 0, 2), wire.CodeInvalid},
		"frame of 2^31-1":      {with(40, 0x7f, 0xff, 0xff, 0xff), wire.CodeInvalid},
		"frame of 2^32-1":      {with(40, 0xff, 0xff, 0xff, 0xff), wire.CodeInvalid},
		"frame one byte short": {with(40, 0, 0, 0, 1), wire.CodeInvalid},
	} {
		t.Run(what, func(t *testing.T) {
			if _, _, err := wire.ParseFrame(c.b, nil); wire.CodeOf(err) != c.code {
				t.Errorf("parsing: got %v, want code %s", err, c.code)
			}
			if _, err := wire.NewFrameReader(bytes.NewReader(c.b)).Next(); wire.CodeOf(err) != c.code {
				t.Errorf("reading: got %v, want code %s", err, c.code)
			}
		})
	}
}

func TestMessageCheck(t *testing.T) {
	for what, c := range map[string]struct {
		m    wire.Message
		code wire.Code
	}{
		"empty":             {wire.Message{}, ""},
		"longest name":      {wire.Message{To: strings.Repeat("x", wire.MaxFullName)}, ""},
		"name too long":     {wire.Message{From: strings.Repeat("x", wire.MaxFullName+1)}, wire.CodeInvalid},
		"id of 25 bit":      {wire.Message{ID: 1 << 24}, wire.CodeInvalid},
		"too many frames":   {wire.Message{Payload: make([][]byte, 1<<16)}, wire.CodeInvalid},
		"one byte too much": {wire.Message{Payload: [][]byte{make([]byte, wire.MaxMessage), {1}}}, wire.CodeTooLarge},
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := wire.AppendFrame(nil, &c.m); wire.CodeOf(err) != c.code {
				t.Errorf("got %v, want code %q", err, c.code)
			}
		})
	}
}

// The largest message fits, and its bytes come one after the other.
func TestLargestMessage(t *testing.T) {
	m := wire.Message{To: "n1.a", From: "n1.b", Payload: [][]byte{make([]byte, wire.MaxMessage-3), []byte("end")}}
	b, err := wire.AppendFrame(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	r := wire.NewFrameReader(io.MultiReader(bytes.NewReader(b), bytes.NewReader(b[:4])))
	got, err := r.Next()
	if err != nil || got.Size() != wire.MaxMessage || string(got.Payload[1]) != "end" {
		t.Fatalf("got %d bytes, %v", got.Size(), err)
	}
	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a frame behind it: %v, want unexpected EOF", err)
	}
}

// A length alone does not make anybody allocate.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	b := binary.BigEndian.AppendUint32(nil, wire.MaxMessage)
	b = append(b, make([]byte, 100)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		_, _ = wire.NewFrameReader(bytes.NewReader(b)).Next()
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / 10; got > 512<<10 {
		t.Errorf("%d bytes allocated for an announcement of 64 MiB", got)
	}
}

// Encoding into a kept buffer and decoding known names is nearly free.
func TestFrameAllocations(t *testing.T) {
	var names wire.Names
	buf, err := wire.AppendFrame(nil, &example)
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(100, func() { buf, _ = wire.AppendFrame(buf[:0], &example) }); got != 0 {
		t.Errorf("%v allocations to encode, want 0", got)
	}
	if got := testing.AllocsPerRun(100, func() { _, _, _ = wire.ParseFrame(buf, &names) }); got > 1 {
		t.Errorf("%v allocations to decode, want 1 (the list of payload frames)", got)
	}
}

// FuzzParseFrame: no bytes crash the decoder, and what it takes is what was
// encoded.
func FuzzParseFrame(f *testing.F) {
	for _, m := range []wire.Message{example, {}, {Payload: [][]byte{{}, {}}}} {
		b, err := wire.AppendFrame(nil, &m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, n, err := wire.ParseFrame(b, nil)
		read, rerr := wire.NewFrameReader(bytes.NewReader(b)).Next()
		if (err == nil) != (rerr == nil) {
			t.Fatalf("parsing: %v, reading: %v", err, rerr)
		}
		if err != nil {
			return
		}
		again, err := wire.AppendFrame(nil, &m)
		if err != nil || !bytes.Equal(again, b[:n]) {
			t.Fatalf("encoded again: %x, %v\nwas:           %x", again, err, b[:n])
		}
		if d := cmp.Diff(m, read); d != "" {
			t.Fatalf("parsed -, read +:\n%s", d)
		}
	})
}
