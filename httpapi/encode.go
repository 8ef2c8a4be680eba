package httpapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// The hot answers are written without reflection. A test holds them to what
// encoding/json makes of the same values.

func putSignedIn(out *bytes.Buffer, s *wire.SignedIn) {
	b := out.AvailableBuffer()
	b = append(b, '{')
	b = putString(b, `"full_name":`, s.FullName)
	b = putString(b, `,"session":`, s.Session)
	b = putString(b, `,"secret":`, s.Secret)
	b = putString(b, `,"namespace":`, s.Namespace)
	b = putString(b, `,"home":`, s.Home)
	b = putDuration(b, `,"lease":`, s.Lease)
	b = strconv.AppendUint(append(b, `,"index":`...), s.Index, 10)
	if s.Attempt != 0 {
		b = strconv.AppendUint(append(b, `,"attempt":`...), s.Attempt, 10)
	}
	out.Write(append(b, "}\n"...))
}

func putBeat(out *bytes.Buffer, s *wire.Beat) {
	b := out.AvailableBuffer()
	b = append(b, '{')
	b = putString(b, `"full_name":`, s.FullName)
	b = putString(b, `,"session":`, s.Session)
	b = putString(b, `,"home":`, s.Home)
	b = putDuration(b, `,"lease":`, s.Lease)
	out.Write(append(b, "}\n"...))
}

func putComponent(out *bytes.Buffer, c *wire.Component) {
	b := out.AvailableBuffer()
	b = append(b, '{')
	b = putString(b, `"full_name":`, c.FullName)
	b = putString(b, `,"name":`, c.Name)
	b = putString(b, `,"namespace":`, c.Namespace)
	b = putString(b, `,"home":`, c.Home)
	b = putString(b, `,"session":`, c.Session)
	b = putString(b, `,"kind":`, c.Kind)
	if len(c.Labels) > 0 {
		b = append(b, `,"labels":{`...)
		for i, k := range slices.Sorted(maps.Keys(c.Labels)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = putString(b, "", k)
			b = putString(b, ":", c.Labels[k])
		}
		b = append(b, '}')
	}
	if c.Place != (wire.Place{}) {
		b = append(b, `,"place":{`...)
		if c.Place.Host != "" {
			b = putString(b, `"host":`, c.Place.Host)
		}
		if c.Place.Group != "" {
			if c.Place.Host != "" {
				b = append(b, ',')
			}
			b = putString(b, `"group":`, c.Place.Group)
		}
		b = append(b, '}')
	}
	b = putDuration(b, `,"lease":`, c.Lease)
	if len(c.Runtimes) > 0 {
		b = append(b, `,"runtimes":[`...)
		for i, r := range c.Runtimes {
			if i > 0 {
				b = append(b, ',')
			}
			b = putString(b, "", r)
		}
		b = append(b, ']')
	}
	if c.Slots != 0 {
		b = strconv.AppendInt(append(b, `,"slots":`...), int64(c.Slots), 10)
	}
	b = append(b, `,"since":"`...)
	b = c.Since.AppendFormat(b, time.RFC3339Nano)
	b = strconv.AppendUint(append(b, `","index":`...), c.Index, 10)
	out.Write(append(b, '}'))
}

func putDuration(b []byte, key string, d wire.Duration) []byte {
	return putString(b, key, time.Duration(d).String())
}

// putString appends key and s as a JSON string. Only what needs no escape
// takes the short way.
func putString(b []byte, key, s string) []byte {
	b = append(b, key...)
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7F || c == '"' || c == '\\' {
			return append(b, escaped(s)...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func escaped(s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always has a JSON form
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
