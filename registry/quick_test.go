package registry_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

var usual = []registry.SignIn{
	{Name: "laser", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n1"},
	{Name: "laser", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n1", Kind: "rest", Lease: 15 * time.Second, TakeOver: true},
	{Name: "w", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", Labels: registry.Labels{{"a", "1"}, {"b", ""}}, Runtimes: []string{"sh", "python3"}, Slots: 4},
	{Name: "p", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", Place: wire.Place{Group: "g"}},
	{Name: "q", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", Place: wire.Place{Host: "h", Group: "g"}, Slots: -1},
	{Name: "q", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", Place: wire.Place{Host: "h"}},
}

// The usual sign-ins are read quickly, each as encoding/json reads it.
func TestQuickReadsTheUsual(t *testing.T) {
	for _, want := range usual {
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got registry.SignIn
		if !got.Quick(body) {
			t.Errorf("%s was not read", body)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", body, got, want)
		}
	}
}

// What is written quickly is what encoding/json writes, and the rest is left
// to it.
func TestQuickWritesTheUsual(t *testing.T) {
	for _, c := range usual {
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := c.AppendQuick(nil); !ok || string(got) != string(want) {
			t.Errorf("got %s (%v), want %s", got, ok, want)
		}
	}
	for _, text := range []string{"\"", "\\", "\n", "ä", "\x7f", "\xff", "\u2028"} {
		for i, c := range []registry.SignIn{
			{Name: text},
			{Namespace: text},
			{Session: text},
			{SecretHash: text},
			{Home: text},
			{Kind: text},
			{Labels: registry.Labels{{text, ""}}},
			{Labels: registry.Labels{{"k", text}}},
			{Place: wire.Place{Host: text}},
			{Place: wire.Place{Group: text}},
			{Runtimes: []string{text}},
		} {
			if got, ok := c.AppendQuick(nil); ok {
				t.Errorf("field %d: %q was written as it is: %s", i, text, got)
			}
		}
	}
}

// A sign-out is read and written quickly as encoding/json does it, and one with
// text that needs escapes is left to it.
func TestQuickSignOut(t *testing.T) {
	for _, want := range []registry.SignOut{{}, {FullName: "n1.laser", Session: "s1"}, {FullName: "a<b>&c", Session: "'"}} {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false) // as the log is written
		if err := enc.Encode(want); err != nil {
			t.Fatal(err)
		}
		body := bytes.TrimSpace(b.Bytes())
		var got registry.SignOut
		if !got.Quick(body) || got != want {
			t.Errorf("%s: got %+v, want %+v", body, got, want)
		}
		if line, ok := want.AppendQuick([]byte("x")); !ok || string(line) != "x"+string(body) {
			t.Errorf("got %s (%v), want x%s", line, ok, body)
		}
	}
	for _, text := range []string{"\"", "\\", "\n", "ä", "\x7f", "\xff", "\u2028"} {
		for i, c := range []registry.SignOut{{FullName: text}, {Session: text}} {
			if got, ok := c.AppendQuick(nil); ok {
				t.Errorf("field %d: %q was written as it is: %s", i, text, got)
			}
		}
	}
	for _, body := range []string{
		``, `{}`, `{"full_name":"a"}`, `{"session":"b","full_name":"a"}`, `{"full_name":"a","session":"b"} `, `{"full_name":"a", "session":"b"}`,
		`{"full_name":"a","session":"b","more":1}`, `{"full_name":"a","session":null}`, `{"full_name":"\u0061","session":"b"}`, `{"full_name":"a","session":"b"`,
	} {
		if c := new(registry.SignOut); c.Quick([]byte(body)) {
			t.Errorf("%s was read quickly, as %+v", body, c)
		}
	}
}

// Whatever is read quickly is read as encoding/json reads it.
func FuzzQuickSignOut(f *testing.F) {
	f.Add([]byte(`{"full_name":"n1.laser","session":"s1"}`))
	f.Add([]byte(`{"full_name":"n1.l\u0061ser","session":"s1"}`))
	f.Add([]byte(`{"full_name":"a","session":"b","session":"c"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var quick, strict registry.SignOut
		if !quick.Quick(body) {
			return
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&strict); err != nil || d.InputOffset() != int64(len(body)) {
			t.Fatalf("%q is read quickly, but strictly it is %v", body, err)
		}
		if quick != strict {
			t.Fatalf("%q: quickly %+v, strictly %+v", body, quick, strict)
		}
	})
}

// Whatever is read quickly is read as encoding/json reads it.
func FuzzQuick(f *testing.F) {
	for _, c := range usual {
		body, _ := json.Marshal(c)
		f.Add(body)
	}
	for _, s := range []string{
		`{"name":"a","namespace":"b","session":"c","secret_hash":"d","home":"e","labels":{}}`,
		`{"name":"a","namespace":"b","session":"c","secret_hash":"d","home":"e","labels":{"a":"1","a":"2"},"lease":007}`,
		`{"name":"a","namespace":"b","session":"c","secret_hash":"d","home":"e","lease":-0,"place":{}}`,
		`{"name":"a\n","namespace":"b","session":"c","secret_hash":"d","home":"e"} `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var quick, strict registry.SignIn
		if !quick.Quick(body) {
			return
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&strict); err != nil || d.InputOffset() != int64(len(body)) {
			t.Fatalf("%q is read quickly, but strictly it is %v", body, err)
		}
		if !reflect.DeepEqual(quick, strict) {
			t.Fatalf("%q: quickly %+v, strictly %+v", body, quick, strict)
		}
	})
}
