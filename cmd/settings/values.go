package settings

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// explain says how a value of the flag's kind is written.
func explain(f *pflag.Flag, err error) error {
	switch f.Value.Type() {
	case "bool":
		return errors.New("want true or false")
	case "int":
		return errors.New("want a whole number")
	case "uint64":
		return errors.New("want a whole number, not below 0")
	case "duration":
		return errors.New("a duration is written like 500ms or 1m30s")
	}
	return err
}

// bytesValue is a flag for a number of bytes.
type bytesValue struct {
	text string
	to   *int64
}

// BytesVar declares a number of bytes, written like 65536, 64KiB, 16MiB or
// 1GiB. It panics if the default is none.
func BytesVar(f *pflag.FlagSet, to *int64, name, value, usage string) {
	v := &bytesValue{to: to}
	if err := v.Set(value); err != nil {
		panic(name + ": " + err.Error())
	}
	f.Var(v, name, usage)
}

func (v *bytesValue) String() string { return v.text }

// Type is what the help calls the value.
func (v *bytesValue) Type() string { return "string" }

// Set parses text.
func (v *bytesValue) Set(text string) error {
	n, err := ParseBytes(text)
	if err != nil {
		return err
	}
	v.text, *v.to = text, n
	return nil
}

// ParseBytes reads a number of bytes, as BytesVar takes it.
func ParseBytes(text string) (int64, error) {
	digits, shift := text, 0
	for unit, n := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = rest, n
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>shift {
		return 0, errors.New("a number of bytes is written like 65536, 64KiB or 16MiB, and is above 0")
	}
	return n << shift, nil
}

// Trimmed returns list without blanks around its items, and without empty ones.
func Trimmed(list []string) []string {
	var out []string
	for _, item := range list {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
