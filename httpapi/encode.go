package httpapi

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// The hot answers are written without reflection. A test holds them to what
// encoding/json makes of the same values.

func writeSignedIn(out *bytes.Buffer, s *wire.SignedIn) {
	b := out.AvailableBuffer()
	b = append(b, '{')
	b = rest.AppendString(b, `"full_name":`, s.FullName)
	b = rest.AppendString(b, `,"session":`, s.Session)
	b = rest.AppendString(b, `,"secret":`, s.Secret)
	b = rest.AppendString(b, `,"namespace":`, s.Namespace)
	b = rest.AppendString(b, `,"home":`, s.Home)
	b = rest.AppendDuration(b, `,"lease":`, s.Lease)
	b = strconv.AppendUint(append(b, `,"index":`...), s.Index, 10)
	if s.Attempt != 0 {
		b = strconv.AppendUint(append(b, `,"attempt":`...), s.Attempt, 10)
	}
	out.Write(append(b, "}\n"...))
}

func writeBeat(out *bytes.Buffer, s *wire.Beat) {
	b := out.AvailableBuffer()
	b = append(b, '{')
	b = rest.AppendString(b, `"full_name":`, s.FullName)
	b = rest.AppendString(b, `,"session":`, s.Session)
	b = rest.AppendString(b, `,"home":`, s.Home)
	b = rest.AppendDuration(b, `,"lease":`, s.Lease)
	out.Write(append(b, "}\n"...))
}

func writeComponent(out *bytes.Buffer, c *wire.Component) {
	b := out.AvailableBuffer()
	b = append(b, '{')
	b = rest.AppendString(b, `"full_name":`, c.FullName)
	b = rest.AppendString(b, `,"name":`, c.Name)
	b = rest.AppendString(b, `,"namespace":`, c.Namespace)
	b = rest.AppendString(b, `,"home":`, c.Home)
	b = rest.AppendString(b, `,"session":`, c.Session)
	b = rest.AppendString(b, `,"kind":`, c.Kind)
	if len(c.Labels) > 0 {
		b = append(b, `,"labels":{`...)
		for i, k := range slices.Sorted(maps.Keys(c.Labels)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = rest.AppendString(b, "", k)
			b = rest.AppendString(b, ":", c.Labels[k])
		}
		b = append(b, '}')
	}
	if c.Place != (wire.Place{}) {
		b = append(b, `,"place":{`...)
		if c.Place.Host != "" {
			b = rest.AppendString(b, `"host":`, c.Place.Host)
		}
		if c.Place.Group != "" {
			if c.Place.Host != "" {
				b = append(b, ',')
			}
			b = rest.AppendString(b, `"group":`, c.Place.Group)
		}
		b = append(b, '}')
	}
	b = rest.AppendDuration(b, `,"lease":`, c.Lease)
	if len(c.Runtimes) > 0 {
		b = append(b, `,"runtimes":[`...)
		for i, r := range c.Runtimes {
			if i > 0 {
				b = append(b, ',')
			}
			b = rest.AppendString(b, "", r)
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

func writeComponents(out *bytes.Buffer, rows []wire.Component, next string) {
	out.WriteString(`{"components":[`)
	for i := range rows {
		if i > 0 {
			out.WriteByte(',')
		}
		writeComponent(out, &rows[i])
	}
	out.WriteByte(']')
	if next != "" {
		out.Write(rest.AppendString(out.AvailableBuffer(), `,"next":`, next))
	}
	out.WriteString("}\n")
}
