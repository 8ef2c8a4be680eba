package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// All that raftctl sends is text in JSON, which has no way to say a byte that is not UTF-8: it would arrive as another
// character. So it is refused, with its place.

// byteFlags are the settings that are taken as they are: names of files, and the token of a header.
var byteFlags = []string{"token", "token-file", "ca", "cert", "key", "items-file"}

// fileArgs marks commands whose arguments are names of files.
const fileArgs = "arguments are names of files"

// textOnly refuses a command line that is not UTF-8.
func textOnly(cmd *cobra.Command, args []string) error {
	if cmd.Annotations[fileArgs] == "" {
		for _, arg := range args {
			if err := checkText(fmt.Sprintf("%q", arg), []byte(arg)); err != nil {
				return err
			}
		}
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if err == nil && !slices.Contains(byteFlags, f.Name) {
				err = checkText(fmt.Sprintf("--%s %q", f.Name, v), []byte(v))
			}
		}
	})
	return err
}

// checkText refuses what is not UTF-8, naming the first byte that is not.
func checkText(name string, b []byte) error {
	at := invalidAt(b)
	if at < 0 {
		return nil
	}
	line := b[bytes.LastIndexByte(b[:at], '\n')+1:]
	where := fmt.Sprintf("byte %d", at-(len(b)-len(line))+1)
	if n := bytes.Count(b[:at], []byte("\n")); n > 0 || bytes.IndexByte(b, '\n') >= 0 {
		where = fmt.Sprintf("line %d, %s", n+1, where)
	}
	return usage("%s: %s (0x%02X) is not UTF-8, and only text can be sent: write it as UTF-8, or bytes as base64", name, where, b[at])
}

// invalidAt is the place of the first byte that is not UTF-8, -1 if all is.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}

// checkTree is checkText for what YAML can hold: !!binary is bytes.
func checkTree(path string, tree any) error {
	switch v := tree.(type) {
	case string:
		return checkText(path, []byte(v))
	case []any:
		for i, inner := range v {
			if err := checkTree(fmt.Sprintf("%s[%d]", path, i), inner); err != nil {
				return err
			}
		}
	case map[string]any:
		var all error
		for key, inner := range v {
			name := key
			if path != "" {
				name = path + "." + key
			}
			all = errors.Join(all, checkTree(name, inner))
		}
		return all
	}
	return nil
}
