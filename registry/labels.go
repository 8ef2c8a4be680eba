package registry

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Label is one label of a session.
type Label struct{ Key, Value string }

// Labels are a session's labels, ordered by key, no key twice. In the log and
// in snapshots they are a JSON object. A map of one label takes ten times the
// memory, which a million sessions would pay.
type Labels []Label

// LabelsOf returns the labels of a map; none is nil.
func LabelsOf(m map[string]string) Labels {
	if len(m) == 0 {
		return nil
	}
	l := make(Labels, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		l = append(l, Label{k, m[k]})
	}
	return l
}

// Value returns the value of a key.
func (l Labels) Value(key string) (string, bool) {
	for i := range l {
		if l[i].Key == key {
			return l[i].Value, true
		}
	}
	return "", false
}

// Map returns the labels as a map of their own; none is nil.
func (l Labels) Map() map[string]string {
	if len(l) == 0 {
		return nil
	}
	m := make(map[string]string, len(l))
	for _, label := range l {
		m[label.Key] = label.Value
	}
	return m
}

// MarshalJSON writes an object. Whether HTML is escaped is the caller's encoder's
// affair.
func (l Labels) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	m := l.Map()
	if m == nil {
		m = map[string]string{}
	}
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalJSON reads an object; the last value of a key counts.
func (l *Labels) UnmarshalJSON(b []byte) error {
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*l = LabelsOf(m)
	return nil
}
