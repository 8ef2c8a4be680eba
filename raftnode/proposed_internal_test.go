package raftnode

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// row writes itself, if it is plain.
type row struct {
	Name string `json:"name"`
}

func (r row) AppendFast(b []byte) ([]byte, bool) {
	return append(b, `{"name":"`+r.Name+`"}`...), !strings.ContainsAny(r.Name, `"<`)
}

// strictly is an answer as encoding/json writes it.
func strictly(t *testing.T, a *answer) string {
	t.Helper()
	p := proposed{Index: a.index, Term: a.term, Err: a.result.Err}
	var err error
	if a.result.Value != nil {
		if p.Value, err = json.Marshal(a.result.Value); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// An answer to a forwarded proposal is written as encoding/json writes it, and
// read back.
func TestProposed(t *testing.T) {
	for _, c := range []struct {
		result wire.Result
		quick  bool
	}{
		{wire.Result{Value: row{"laser"}}, true},
		{wire.Result{Value: struct{}{}}, true},
		{wire.Result{Value: row{`"<`}}, false},
		{wire.Result{Value: []string{"a"}}, false},
		{wire.Result{Value: map[string]int{"a": 1}}, false},
		{wire.Result{Value: "}"}, false},
		{wire.Result{}, false},
		{wire.Result{Err: wire.Refuse(wire.CodeConflict, "no")}, false},
		{wire.Result{Value: struct{}{}, Err: wire.Refuse(wire.CodeConflict, "no")}, false},
	} {
		for _, n := range []uint64{0, 1, 70, math.MaxUint64} {
			a := answer{index: n, term: n / 2, result: c.result}
			want := strictly(t, &a)
			if got, err := encodeProposed(&a); err != nil || string(got) != want {
				t.Errorf("%+v is written as %s (%v), want %s", a, got, err, want)
			}
			if _, quick := encodeProposedFast(&a); quick != c.quick {
				t.Errorf("%+v is written quickly: %v", a, quick)
			}
			var strict proposed
			if err := json.Unmarshal([]byte(want), &strict); err != nil {
				t.Fatal(err)
			}
			if got, err := decodeProposed([]byte(want)); err != nil || !reflect.DeepEqual(got, strict) {
				t.Errorf("%s is read as %+v (%v), want %+v", want, got, err, strict)
			}
			if _, quick := decodeProposedFast([]byte(want)); quick != (c.result.Err == nil && strings.HasSuffix(want, "}}")) {
				t.Errorf("%s is read quickly: %v", want, quick)
			}
		}
	}
	_, err := encodeProposed(&answer{result: wire.Result{Value: func() {}}})
	if wire.CodeOf(err) != wire.CodeUnknown {
		t.Errorf("a value without JSON: %v, want unknown", err)
	}
	var syntax *json.SyntaxError
	if _, err := decodeProposed([]byte(`{"index":1,"term":1,"value":{"a"}}`)); !errors.As(err, &syntax) {
		t.Errorf("a value that is no JSON: %v", err)
	}
}

// What is read quickly is read as encoding/json reads it.
func FuzzReadProposed(f *testing.F) {
	for _, s := range []string{
		`{"index":1,"term":2,"value":{"a":[1]}}`, `{"index":1,"term":2,"value":{}}`, `{"index":18446744073709551615,"term":0,"value":{}}`,
		`{"index":1,"term":2,"value":{},"err":{}}`, `{"index":1,"term":2,"value":{},"value":{}}`, `{"index":01,"term":2,"value":{}}`, `{"index":1,"term":2,"value":{} }`,
		`{"index":18446744073709551616,"term":0,"value":{}}`, `{"index":1,"term":2,"value":{}`, `{"index":1,"term":2,"value":}`, `{"index":1,"term":2}`, `{"index":-1,"term":2,"value":{}}`, `{"index":1,"term":2,"value": {}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := decodeProposedFast(body)
		if !ok {
			return
		}
		var want proposed
		if err := json.Unmarshal(body, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is read as %+v, want %+v (%v)", body, got, want, err)
		}
	})
}

func BenchmarkProposed(b *testing.B) {
	a := answer{index: 812, term: 3, result: wire.Result{Value: row{strings.Repeat("laser", 100)}}}
	b.ReportAllocs()
	for b.Loop() {
		body, err := encodeProposed(&a)
		if err == nil {
			_, err = decodeProposed(body)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
