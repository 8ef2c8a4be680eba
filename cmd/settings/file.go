package settings

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Value is what a file holds for one setting: a text as it is written there, or
// a list if List is not nil.
type Value struct {
	Text string
	List []string

	none bool // the key is there, but without a value
}

func (v Value) String() string {
	if v.List != nil {
		return fmt.Sprint(v.List)
	}
	return v.Text
}

// Layer is what a file holds, by the names of settings.
type Layer struct {
	Origin string // as Rows shows it: "file /etc/folkmoot.yaml"
	Label  string // as errors begin: "--config /etc/folkmoot.yaml"
	Values map[string]Value
}

// check refuses a key that is no setting.
func (l Layer) check(known []string) error {
	for _, key := range slices.Sorted(maps.Keys(l.Values)) {
		if err := KnownKey(key, known); err != nil {
			return fmt.Errorf("%s: %w", l.Label, err)
		}
	}
	return nil
}

// DeclareFile declares --config, the selector of a Set whose file is ReadFile's.
func (s *Set) DeclareFile(usage string) { s.String("config", "", usage) }

// ReadFile reads the YAML file that --config names. Its keys are the names of
// settings, its values are scalars or lists of them. A key without a value is as
// good as none. With an empty path there is no file.
func ReadFile(path string) (Layer, error) {
	if path == "" {
		return Layer{}, nil
	}
	l := Layer{Origin: "file " + path, Label: "--config " + path}
	b, err := os.ReadFile(path)
	if err == nil {
		l.Values, err = parse(b)
	}
	if err != nil {
		return Layer{}, fmt.Errorf("%s: %w", l.Label, err)
	}
	return l, nil
}

var errOneValue = errors.New("want one value, not a list")

// parse returns the values of a YAML document as they are written.
func parse(b []byte) (map[string]Value, error) {
	var tree map[string]any // refuses what is no mapping and keys that are told twice
	if err := yaml.Unmarshal(b, &tree); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	values := map[string]Value{}
	if len(tree) == 0 {
		return values, nil
	}
	return values, collect(values, "", doc.Content[0])
}

// collect adds what mapping holds to values. A mapping inside it is no setting:
// its keys are named by their path, to be refused so.
func collect(values map[string]Value, path string, mapping *yaml.Node) error {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, n := path+mapping.Content[i].Value, resolve(mapping.Content[i+1])
		switch {
		case n.Kind == yaml.MappingNode && len(n.Content) > 0:
			if err := collect(values, key+".", n); err != nil {
				return err
			}
		case n.Kind == yaml.SequenceNode:
			list := []string{}
			for _, item := range n.Content {
				if item = resolve(item); item.Kind != yaml.ScalarNode {
					return fmt.Errorf("line %d: %s: want a list of values", item.Line, key)
				}
				list = append(list, item.Value)
			}
			values[key] = Value{List: list}
		case n.ShortTag() != "!!null":
			values[key] = Value{Text: n.Value}
		default:
			values[key] = Value{none: true}
		}
	}
	return nil
}

// resolve returns the node that an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
