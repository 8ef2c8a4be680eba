package fsm_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
)

// populated returns a machine with n components signed in, 64 to an entry.
func populated(tb testing.TB, n int) *fsm.Machine {
	tb.Helper()
	m := fsm.New()
	m.Apply(1, [][]byte{encode(tb, registry.KindAnnounce, t0, announce("n1"))})
	var batch [][]byte
	index := uint64(1)
	for i := range n {
		batch = append(batch, encode(tb, registry.KindSignIn, t0, benchSignIn(fmt.Sprintf("c%07d", i))))
		if len(batch) == 64 || i == n-1 {
			index++
			for _, r := range m.Apply(index, batch) {
				if r.Err != nil {
					tb.Fatal(r.Err)
				}
			}
			batch = batch[:0]
		}
	}
	return m
}

func benchSignIn(name string) registry.SignIn {
	return registry.SignIn{
		Name: name, Namespace: "n1", Session: "0193f0c2-7b1e-7cc1-9d55-" + name, Home: "n1", Kind: "native",
		SecretHash: registry.HashSecret(name), Lease: 15 * time.Second,
	}
}

func BenchmarkApply(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("rows=200000/commands=%d", batch), func(b *testing.B) {
			m := populated(b, 200_000)
			var lines [][]byte
			for i := range b.N {
				lines = append(lines, encode(b, registry.KindSignIn, t0, benchSignIn(fmt.Sprintf("d%07d", i*7919%10_000_000))))
			}
			index := m.View().Index
			b.SetBytes(int64(len(lines[0])))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += batch {
				index++
				m.Apply(index, lines[i:min(i+batch, b.N)])
			}
		})
	}
}

// What a frequent command costs its proposer, and the leader before its log.
func BenchmarkCheck(b *testing.B) {
	m := fsm.New()
	in := benchSignIn("c1")
	for _, c := range []struct {
		kind string
		body any
	}{
		{registry.KindSignIn, in},
		{registry.KindSignOut, registry.SignOut{FullName: registry.FullName(in.Namespace, in.Name), Session: in.Session}},
	} {
		b.Run(c.kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Check(encode(b, c.kind, t0, c.body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	m := populated(b, 200_000)
	b.ResetTimer()
	for b.Loop() {
		if _, err := m.Freeze().WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFreeze(b *testing.B) {
	m := populated(b, 200_000)
	b.ResetTimer()
	for b.Loop() {
		m.Freeze()
	}
}
