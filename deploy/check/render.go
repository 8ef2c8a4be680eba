package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Object is one object of a rendered set of manifests.
type Object struct {
	Kind, Name string
	Fields     map[string]any // as JSON has them
}

// String names the object as kubectl does.
func (o Object) String() string { return o.Kind + "/" + o.Name }

// YAML returns the object as text, keys in alphabetical order.
func (o Object) YAML() []byte {
	b, err := yaml.Marshal(o.Fields)
	if err != nil {
		panic(fmt.Sprintf("%s came from YAML and is none: %v", o, err))
	}
	return b
}

// Kustomize renders a directory with a kustomization.yaml as kubectl apply -k does.
func Kustomize(dir string) ([]Object, error) {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", dir, err)
	}
	return objects(rendered)
}

// Compose renders a base or overlay with components applied to it in order; all
// are directories. scratch is a directory for the kustomization that says so.
func Compose(scratch, base string, components ...string) ([]Object, error) {
	k := map[string]any{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
	relative := func(dirs ...string) (all []string, err error) {
		for _, dir := range dirs {
			to, err := filepath.Abs(dir)
			if err != nil {
				return nil, err
			}
			from, err := filepath.EvalSymlinks(scratch)
			if err != nil {
				return nil, err
			}
			rel, err := filepath.Rel(from, to)
			if err != nil {
				return nil, err
			}
			all = append(all, rel)
		}
		return all, nil
	}
	var err error
	if k["resources"], err = relative(base); err != nil {
		return nil, err
	}
	if k["components"], err = relative(components...); err != nil {
		return nil, err
	}
	b, err := yaml.Marshal(k)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(scratch, "kustomization.yaml"), b, 0o600); err != nil {
		return nil, err
	}
	return Kustomize(scratch)
}

func objects(rendered resmap.ResMap) (all []Object, err error) {
	for _, r := range rendered.Resources() {
		fields, err := r.Map()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.CurId(), err)
		}
		all = append(all, Object{Kind: r.GetKind(), Name: r.GetName(), Fields: fields})
	}
	return all, nil
}

// Parse reads objects from YAML with --- between them, as a Helm template gives it.
func Parse(text string) (all []Object, err error) {
	for _, part := range strings.Split(text, "\n---") {
		var fields map[string]any
		if err := yaml.UnmarshalStrict([]byte(part), &fields); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, part)
		}
		if len(fields) == 0 {
			continue
		}
		kind, _ := fields["kind"].(string)
		meta, _ := fields["metadata"].(map[string]any)
		name, _ := meta["name"].(string)
		all = append(all, Object{Kind: kind, Name: name, Fields: fields})
	}
	return all, nil
}
