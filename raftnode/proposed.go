package raftnode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/folkmoot/folkmoot/wire"
)

// proposed is the answer to a forwarded proposal. Version 1: 2026-11.
type proposed struct {
	Index uint64          `json:"index"`
	Term  uint64          `json:"term"`
	Value json.RawMessage `json:"value,omitempty"`
	Err   *wire.Error     `json:"err,omitempty"`
}

const (
	fieldIndex = `{"index":`
	fieldTerm  = `,"term":`
	fieldValue = `,"value":`
)

// encodeProposed writes the answer a. A value that can writes itself, and then all
// is written as encoding/json would.
func encodeProposed(a *answer) ([]byte, error) {
	if b, ok := encodeProposedFast(a); ok {
		return b, nil
	}
	p := proposed{Index: a.index, Term: a.term, Err: a.result.Err}
	if a.result.Value != nil {
		var err error
		if p.Value, err = json.Marshal(a.result.Value); err != nil {
			return nil, wire.Unknown(fmt.Errorf("the write is done, but its value has no JSON: %w", err))
		}
	}
	return json.Marshal(p)
}

func encodeProposedFast(a *answer) (b []byte, ok bool) {
	if a.result.Err != nil {
		return nil, false
	}
	b = strconv.AppendUint(append(make([]byte, 0, 1024), fieldIndex...), a.index, 10)
	b = strconv.AppendUint(append(b, fieldTerm...), a.term, 10)
	switch v := a.result.Value.(type) {
	case struct{}:
		b = append(append(b, fieldValue...), "{}"...)
	case interface{ AppendFast(b []byte) ([]byte, bool) }:
		if b, ok = v.AppendFast(append(b, fieldValue...)); !ok {
			return nil, false
		}
	default:
		return nil, false
	}
	return append(b, '}'), true
}

// decodeProposed reads what encodeProposed wrote, or a newer coordinator. Its value
// may alias body.
func decodeProposed(body []byte) (p proposed, err error) {
	if p, ok := decodeProposedFast(body); ok {
		return p, nil
	}
	err = json.Unmarshal(body, &p)
	return p, err
}

func decodeProposedFast(body []byte) (p proposed, ok bool) {
	index, rest, ok := cutNumber(body, fieldIndex)
	if !ok {
		return p, false
	}
	term, rest, ok := cutNumber(rest, fieldTerm)
	if !ok {
		return p, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(fieldValue))
	if n := len(rest) - 1; !ok || n < 2 || rest[0] != '{' || rest[n-1] != '}' || rest[n] != '}' || !json.Valid(rest[:n]) {
		return p, false
	}
	return proposed{Index: index, Term: term, Value: json.RawMessage(rest[: len(rest)-1 : len(rest)-1])}, true
}

// cutNumber reads mark and the number after it, as JSON writes it.
func cutNumber(b []byte, mark string) (v uint64, rest []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte(mark))
	n := 0
	for n < len(b) && n < 20 && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	if !ok || n == 0 || n > 1 && b[0] == '0' {
		return 0, nil, false
	}
	v, err := strconv.ParseUint(string(b[:n]), 10, 64)
	return v, b[n:], err == nil
}
