package trail_test

import (
	"testing"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/audit/trail"
)

// What a write waits for is Record; what the writer does meanwhile is in it as far as the processors are shared. Events
// beyond what the disk takes are dropped, and reported as a share.
func BenchmarkRecord(b *testing.B) {
	for name, e := range map[string]audit.Event{"write": done(1), "refusal": refused("a")} {
		b.Run(name, func(b *testing.B) {
			tr, err := trail.Open(trail.Config{Dir: b.TempDir(), Coordinator: "n1"})
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := tr.Close(); err != nil {
					b.Log(err)
				}
			}()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					tr.Record(e)
				}
			})
		})
	}
}
