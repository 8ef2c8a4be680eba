package work

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// HideSecrets blanks what the system shows of this process's environment and of the
// secrets among its arguments. The parts' parent is this process, and they have
// its user: /proc would tell them what environment keeps from them. Names stay,
// and so do the values that parts are given anyway. os.Getenv is as before, since
// Go copies the environment; the texts of os.Args are those that are blanked, so
// a secret read from them has to be cloned before.
func HideSecrets(secrets ...string) error {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return fmt.Errorf("hide the environment: %w", err)
	}
	// Behind the program's name, which may have blanks, the third field of
	// proc(5) begins; arguments are at 48 to 49, the environment at 50 to 51.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 49 {
		return fmt.Errorf("hide the environment: /proc/self/stat has %d fields", len(fields)+2)
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("hide the environment: %w", err)
	}
	defer mem.Close()
	err = blank(mem, fields[45:47], func(entry []byte) []byte {
		for _, s := range secrets {
			if s != "" && (string(entry) == s || bytes.HasSuffix(entry, []byte("="+s))) {
				return entry[len(entry)-len(s):]
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("hide the arguments: %w", err)
	}
	err = blank(mem, fields[47:49], func(entry []byte) []byte {
		name, value, _ := bytes.Cut(entry, []byte("="))
		if slices.Contains([]string{"PATH", "LANG"}, string(name)) {
			return nil
		}
		return value
	})
	if err != nil {
		return fmt.Errorf("hide the environment: %w", err)
	}
	return nil
}

// blank overwrites, in an area of memory made of texts that end with a zero
// byte, the piece of each text that secret returns.
func blank(mem *os.File, area []string, secret func([]byte) []byte) error {
	var at [2]int64
	for i, s := range area {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return err
		}
		at[i] = n
	}
	if at[0] <= 0 || at[1] < at[0] || at[1]-at[0] > 64<<20 {
		return fmt.Errorf("it is said to lie from %d to %d", at[0], at[1])
	}
	b := make([]byte, at[1]-at[0])
	if _, err := mem.ReadAt(b, at[0]); err != nil {
		return err
	}
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		clear(secret(entry))
	}
	_, err := mem.WriteAt(b, at[0])
	return err
}
