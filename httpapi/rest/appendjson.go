package rest

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// AppendString appends key as it is and s as a JSON string. Only what needs no
// escape takes the short way.
func AppendString(b []byte, key, s string) []byte {
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

// AppendDuration appends key as it is and d as a JSON string like "15s".
func AppendDuration(b []byte, key string, d wire.Duration) []byte {
	return AppendString(b, key, time.Duration(d).String())
}

func escaped(s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always has a JSON form
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
