// Package clipage keeps docs/cli.md like the programs' own help. It is for
// tests: each program checks its section, and writes it when asked to.
package clipage

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// path is the page, as seen from the package of a program.
const path = "../../docs/cli.md"

// Test compares the section of root's program in docs/cli.md with its commands.
// With update it writes the section.
func Test(t *testing.T, root *cobra.Command, update bool) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := replace(string(b), root.Name(), section(root))
	switch {
	case err != nil:
		t.Fatal(err)
	case fresh == string(b):
	case !update:
		t.Errorf("docs/cli.md is not what %s --help says: go generate ./cmd/%s", root.Name(), root.Name())
	default:
		if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// replace returns page with the text between the marks of a program replaced.
func replace(page, program, text string) (string, error) {
	begin, end := fmt.Sprintf("<!-- %s: generated -->\n", program), fmt.Sprintf("<!-- %s: end -->\n", program)
	before, rest, ok := strings.Cut(page, begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		return "", fmt.Errorf("docs/cli.md has no line %q followed by %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + text + "\n" + end + after, nil
}

// section describes a program and all its commands but the hidden ones.
func section(root *cobra.Command) string {
	var b strings.Builder
	describe(&b, root, root, "##")
	return strings.TrimSpace(b.String()) + "\n"
}

func describe(b *strings.Builder, root, cmd *cobra.Command, heading string) {
	fmt.Fprintf(b, "%s %s\n\n%s.\n\n", heading, cmd.CommandPath(), strings.TrimSuffix(cmd.Short, "."))
	if cmd.Long != "" {
		block(b, cmd.Long)
	}
	if cmd.Runnable() {
		block(b, cmd.UseLine())
	}
	own, shared := flags(root, cmd)
	if own.HasFlags() {
		block(b, own.FlagUsagesWrapped(118))
	}
	if shared {
		fmt.Fprintf(b, "The flags of `%s` too.\n\n", root.Name())
	}
	if cmd.Example != "" {
		b.WriteString("For example:\n\n")
		block(b, unindent(cmd.Example))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			describe(b, root, sub, "###")
		}
	}
}

// flags returns the flags of cmd, and whether there are some of root's own among
// them, which are left out.
func flags(root, cmd *cobra.Command) (own *pflag.FlagSet, shared bool) {
	own = pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		of := root.Flags().Lookup(f.Name)
		switch {
		case f.Name == "help" || f.Name == "version":
		case cmd != root && of != nil && of.Usage == f.Usage:
			shared = true
		default:
			own.AddFlag(f)
		}
	})
	return own, shared
}

func block(b *strings.Builder, text string) {
	fmt.Fprintf(b, "```text\n%s\n```\n\n", strings.TrimRight(text, "\n "))
}

func unindent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
