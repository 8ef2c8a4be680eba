package registry_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
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
	{Name: "q", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", TakeOver: true, Attempt: 12, Keep: true},
	{Name: "q", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", Attempt: 1},
	{Name: "q", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", Token: "t_1f"},
	{Name: "q", Namespace: "n1", Session: "s1", SecretHash: "ab", Home: "n2", Keep: true, Token: "file:012345678901"},
}

// The usual sign-ins are read quickly, each as encoding/json reads it.
func TestQuickReadsTheUsual(t *testing.T) {
	for _, want := range usual {
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got registry.SignIn
		if !got.DecodeFast(body) {
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
		if got, ok := c.AppendFast(nil); !ok || string(got) != string(want) {
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
			{Token: text},
			{Labels: registry.Labels{{text, ""}}},
			{Labels: registry.Labels{{"k", text}}},
			{Place: wire.Place{Host: text}},
			{Place: wire.Place{Group: text}},
			{Runtimes: []string{text}},
		} {
			if got, ok := c.AppendFast(nil); ok {
				t.Errorf("field %d: %q was written as it is: %s", i, text, got)
			}
		}
	}
}

var usualSessions = []registry.Session{
	{FullName: "n1.laser", Name: "laser", Namespace: "n1", ID: "s1", SecretHash: "ab", Home: "n1", Kind: "native", Epoch: 1, Lease: 15 * time.Second, Since: time.Date(2026, 11, 2, 15, 4, 5, 123456789, time.UTC), Index: 999_999_999_999_999_999},
	{Since: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)},
	{Labels: registry.Labels{{"a", "1"}, {"b", ""}}, Place: wire.Place{Host: "h", Group: "g"}, Runtimes: []string{"sh", "python3"}, Slots: 4, Since: time.Date(9999, 12, 31, 23, 59, 59, 5e8, time.UTC)},
	{Place: wire.Place{Group: "g"}, Slots: -1, Lease: -1, Since: time.Unix(0, 0).UTC()},
	{Token: "t_1f", Attempt: 3, Since: time.Unix(0, 0).UTC()},
}

// A session is read and written quickly as encoding/json does it, and others
// are left to it.
func TestQuickSession(t *testing.T) {
	for _, want := range usualSessions {
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got, strict registry.Session
		if err := json.Unmarshal(body, &strict); err != nil {
			t.Fatal(err)
		}
		if !got.DecodeFast(body) || !reflect.DeepEqual(got, strict) {
			t.Errorf("%s: got %+v, want %+v", body, got, strict)
		}
		if line, ok := want.AppendFast([]byte("x")); !ok || string(line) != "x"+string(body) {
			t.Errorf("got %s (%v), want x%s", line, ok, body)
		}
	}
	at := usualSessions[0].Since
	for _, text := range []string{"\"", "\\", "\n", "ä", "\x7f", "\xff", "\u2028", "<", ">", "&"} {
		for i, s := range []registry.Session{
			{FullName: text},
			{Name: text},
			{Namespace: text},
			{ID: text},
			{SecretHash: text},
			{Home: text},
			{Kind: text},
			{Token: text},
			{Labels: registry.Labels{{text, ""}}},
			{Labels: registry.Labels{{"k", text}}},
			{Place: wire.Place{Host: text}},
			{Place: wire.Place{Group: text}},
			{Runtimes: []string{text}},
		} {
			s.Since = at
			if got, ok := s.AppendFast(nil); ok {
				t.Errorf("field %d: %q was written as it is: %s", i, text, got)
			}
		}
	}
	for _, since := range []time.Time{at.In(time.FixedZone("", 3600)), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got, ok := (registry.Session{Since: since}).AppendFast(nil); ok {
			t.Errorf("%v was written: %s", since, got)
		}
	}
	usual, _ := json.Marshal(usualSessions[2])
	for _, change := range [][2]string{
		{`"since":"`, `"since":"0`},
		{`"epoch":0`, `"epoch":-0`},
		{`"epoch":0`, `"epoch":1.0`},
		{`"index":0`, `"index":1234567890123456789`},
		{`"lease":0,`, ``},
		{`"index":0}`, `"index":0,"more":1}`},
		{`"index":0}`, `"index":0} `},
		{`"index":0}`, `"index":0`},
		{`"a":"1"`, `"c":"1"`},
		{`"kind":"",`, ``},
		{`59.5Z`, `60.5Z`},
	} {
		body := strings.Replace(string(usual), change[0], change[1], 1)
		if body == string(usual) {
			t.Fatalf("%s is not in %s", change[0], usual)
		}
		if s := new(registry.Session); s.DecodeFast([]byte(body)) {
			t.Errorf("%s was read quickly, as %+v", body, s)
		}
	}
}

// Every field of a session is read and written.
func TestQuickSessionKnowsEveryField(t *testing.T) {
	s := registry.Session{
		FullName: "a", Name: "b", Namespace: "c", ID: "d", SecretHash: "e", Home: "f", Kind: "g", Epoch: 1, Labels: registry.Labels{{"k", "v"}},
		Place: wire.Place{Host: "h", Group: "i"}, Lease: 2, Runtimes: []string{"j"}, Slots: 3, Since: time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC), Index: 4, Attempt: 5, Token: "t_1",
	}
	for v, i := reflect.ValueOf(s), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("this test does not know %s", v.Type().Field(i).Name)
		}
	}
	want, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back registry.Session
	if got, ok := s.AppendFast(nil); !ok || string(got) != string(want) || !back.DecodeFast(got) || !reflect.DeepEqual(back, s) {
		t.Errorf("got %s, back %+v, want %s", got, back, want)
	}
}

// Whatever is read quickly is read as encoding/json reads it, and what is
// written quickly is written as it writes.
func FuzzQuickSession(f *testing.F) {
	for _, s := range usualSessions {
		body, _ := json.Marshal(s)
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var quick, strict registry.Session
		err := json.Unmarshal(body, &strict)
		if quick.DecodeFast(body) && (err != nil || !reflect.DeepEqual(quick, strict)) {
			t.Fatalf("%q: quickly %+v, strictly %+v (%v)", body, quick, strict, err)
		}
		if err != nil {
			return
		}
		if got, ok := strict.AppendFast(nil); ok {
			if want, err := json.Marshal(strict); err != nil || string(got) != string(want) {
				t.Fatalf("quickly %s, strictly %s (%v)", got, want, err)
			}
		}
	})
}

// A sign-out is read and written quickly as encoding/json does it, and one with
// text that needs escapes is left to it.
func TestQuickSignOut(t *testing.T) {
	for _, want := range []registry.SignOut{{}, {FullName: "n1.laser", Session: "s1"}, {FullName: "a<b>&c", Session: "'"}, {FullName: "n1.laser", Session: "s1", Final: true}} {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false) // as the log is written
		if err := enc.Encode(want); err != nil {
			t.Fatal(err)
		}
		body := bytes.TrimSpace(b.Bytes())
		var got registry.SignOut
		if !got.DecodeFast(body) || got != want {
			t.Errorf("%s: got %+v, want %+v", body, got, want)
		}
		if line, ok := want.AppendFast([]byte("x")); !ok || string(line) != "x"+string(body) {
			t.Errorf("got %s (%v), want x%s", line, ok, body)
		}
	}
	for _, text := range []string{"\"", "\\", "\n", "ä", "\x7f", "\xff", "\u2028"} {
		for i, c := range []registry.SignOut{{FullName: text}, {Session: text}} {
			if got, ok := c.AppendFast(nil); ok {
				t.Errorf("field %d: %q was written as it is: %s", i, text, got)
			}
		}
	}
	for _, body := range []string{
		``, `{}`, `{"full_name":"a"}`, `{"session":"b","full_name":"a"}`, `{"full_name":"a","session":"b"} `, `{"full_name":"a", "session":"b"}`,
		`{"full_name":"a","session":"b","more":1}`, `{"full_name":"a","session":null}`, `{"full_name":"\u0061","session":"b"}`, `{"full_name":"a","session":"b"`,
	} {
		if c := new(registry.SignOut); c.DecodeFast([]byte(body)) {
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
		if !quick.DecodeFast(body) {
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
		if !quick.DecodeFast(body) {
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
