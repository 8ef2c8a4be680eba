// Package settings gives the settings of a program their values.
//
// A setting is a flag. Its value comes from the command line, else from the
// environment, else from a file, else it is the default. All three programs
// declare and load their settings here, so that the same rules hold for all.
package settings

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
)

// EnvPrefix begins the name of every environment variable that is a setting:
// --http-addr is FOLKMOOT_HTTP_ADDR.
const EnvPrefix = "FOLKMOOT_"

// Set holds the settings of one program. Flags that are declared in its
// FlagSet are settings; add the FlagSet to the command's own before the
// command line is parsed. A Set belongs to one invocation of the program.
type Set struct {
	*pflag.FlagSet

	selector  string
	open      func(name string) (Layer, error)
	variables map[string][]string // further variables of a setting, in order
	secrets   map[string]bool
	exclusive [][2]string
	origins   map[string]string
}

// New returns an empty Set whose file is chosen by the setting selector, which
// the caller declares. open is called once by Load with the selector's value,
// which may be empty, and returns what the file holds.
func New(selector string, open func(name string) (Layer, error)) *Set {
	return &Set{
		FlagSet:  pflag.NewFlagSet("settings", pflag.ContinueOnError),
		selector: selector, open: open,
		variables: map[string][]string{}, secrets: map[string]bool{}, origins: map[string]string{},
	}
}

// Variables has a setting read from further environment variables. The first
// of them that is set wins, the setting's own name comes last.
func (s *Set) Variables(name string, variables ...string) { s.variables[name] = variables }

// Secret keeps the value of a setting out of Rows.
func (s *Set) Secret(name string) { s.secrets[name] = true }

// Exclusive declares two settings of which the one from the nearer source
// replaces the other: a flag replaces a variable of the other, and so on. If
// both come from the same source, both keep their values.
func (s *Set) Exclusive(a, b string) { s.exclusive = append(s.exclusive, [2]string{a, b}) }

// EnvName returns the environment variable of a setting.
func EnvName(name string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// source ranks where a value comes from; a higher one wins.
type source int

const (
	fromDefault source = iota
	fromFile
	fromEnvironment
	fromFlag
)

// candidate is the winning value of one setting, before it is applied.
type candidate struct {
	source source
	origin string // as Rows shows it
	label  string // as errors name it
	value  Value
}

// Load applies environ, in the form of os.Environ, and the selected file to
// all settings that no flag has set. Call it once, after the command line has
// been parsed. Its errors name the flag, the variable or the file and the key.
func (s *Set) Load(environ []string) error {
	env := environment(environ)
	layer, err := s.layer(env)
	if err != nil {
		return err
	}
	found := map[string]candidate{}
	s.visit(func(f *pflag.Flag) { found[f.Name] = s.candidate(f, env, layer) })
	for _, pair := range s.exclusive {
		a, b := found[pair[0]].source, found[pair[1]].source
		switch {
		case a == fromDefault || b == fromDefault || a == b:
		case a > b:
			s.drop(found, pair[1])
		default:
			s.drop(found, pair[0])
		}
	}
	s.visit(func(f *pflag.Flag) {
		c := found[f.Name]
		s.origins[f.Name] = c.origin
		if err == nil {
			err = c.apply(f)
		}
	})
	return err
}

// layer opens the file that the selector names.
func (s *Set) layer(env map[string]string) (Layer, error) {
	f := s.Lookup(s.selector)
	if c := s.candidate(f, env, Layer{}); c.source == fromEnvironment {
		if err := c.apply(f); err != nil {
			return Layer{}, err
		}
	}
	layer, err := s.open(f.Value.String())
	if err != nil {
		return Layer{}, err
	}
	var known []string
	s.visit(func(f *pflag.Flag) { known = append(known, f.Name) })
	return layer, layer.check(known)
}

// visit calls do for every setting but the selector, in the order of names.
func (s *Set) visit(do func(*pflag.Flag)) {
	s.VisitAll(func(f *pflag.Flag) {
		if f.Name != s.selector {
			do(f)
		}
	})
}

// candidate finds the value of one setting.
func (s *Set) candidate(f *pflag.Flag, env map[string]string, layer Layer) candidate {
	if f.Changed {
		return candidate{source: fromFlag, origin: "flag --" + f.Name}
	}
	for _, variable := range append(slices.Clone(s.variables[f.Name]), EnvName(f.Name)) {
		if text, ok := env[variable]; ok {
			return candidate{fromEnvironment, "environment " + variable, fmt.Sprintf("%s=%q", variable, text), Value{Text: text}}
		}
	}
	if v, ok := layer.Values[f.Name]; ok && !v.none {
		return candidate{fromFile, layer.Origin, fmt.Sprintf("%s: --%s %q", layer.Label, f.Name, v), v}
	}
	return candidate{source: fromDefault, origin: "default"}
}

// drop leaves a setting at its default.
func (s *Set) drop(found map[string]candidate, name string) {
	found[name] = candidate{source: fromDefault, origin: "default"}
}

// apply sets the flag's value, unless the flag has it already.
func (c candidate) apply(f *pflag.Flag) error {
	if c.source == fromFlag || c.source == fromDefault {
		return nil
	}
	var err error
	if list, ok := f.Value.(pflag.SliceValue); ok && c.value.List != nil {
		err = list.Replace(c.value.List)
	} else if c.value.List != nil {
		err = errOneValue
	} else if err = f.Value.Set(c.value.Text); err != nil {
		err = explain(f, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.label, err)
	}
	return nil
}

// Unknown returns, in order, the FOLKMOOT_ variables of environ that are no
// setting of s and are not among others, those of other programs.
func (s *Set) Unknown(environ, others []string) []string {
	env := environment(environ)
	s.VisitAll(func(f *pflag.Flag) {
		delete(env, EnvName(f.Name))
		for _, variable := range s.variables[f.Name] {
			delete(env, variable)
		}
	})
	var unknown []string
	for variable := range env {
		if !slices.Contains(others, variable) {
			unknown = append(unknown, variable)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// Row is one setting with its value.
type Row struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // default, file PATH, environment NAME or flag --NAME
}

// Rows returns all settings in the order of names, as Load left them. Of
// secrets it only tells that they are set.
func (s *Set) Rows() []Row {
	var rows []Row
	s.visit(func(f *pflag.Flag) {
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = fmt.Sprint(list.GetSlice())
		}
		if s.secrets[f.Name] && value != "" {
			value = "(hidden)"
		}
		rows = append(rows, Row{Name: f.Name, Value: value, Origin: s.origins[f.Name]})
	})
	return rows
}

// Print writes rows as a table, with the origin of each value if it is asked for.
func Print(w io.Writer, rows []Row, origin bool) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		if origin {
			fmt.Fprintf(t, "%s\t%s\t%s\n", r.Name, r.Value, r.Origin)
		} else {
			fmt.Fprintf(t, "%s\t%s\n", r.Name, r.Value)
		}
	}
	return t.Flush()
}

// NonEmpty returns the variables of environ that have a value.
func NonEmpty(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		_, value, _ := strings.Cut(e, "=")
		return value == ""
	})
}

// environment returns the FOLKMOOT_ variables of environ.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			env[name] = value
		}
	}
	return env
}
