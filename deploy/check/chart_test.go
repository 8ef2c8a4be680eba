package check

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

const helm = "../helm/folkmoot"

// template renders the chart as helm template -f does.
func template(values ...map[string]any) ([]Object, error) {
	chart, err := loader.Load(helm)
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	for _, v := range values {
		given = chartutil.MergeTables(v, given)
	}
	all, err := chartutil.ToRenderValues(chart, given, chartutil.ReleaseOptions{Name: "folkmoot", Namespace: "lab"}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	var objects []Object
	for name, text := range texts {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		more, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

func valuesFile(t *testing.T, name string) map[string]any {
	t.Helper()
	v, err := chartutil.ReadValuesFile(filepath.Join(helm, name))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The templates are what deploy/k8s makes of them.
func TestChartIsFresh(t *testing.T) {
	version, err := ProgramVersion("../..")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Chart(k8s, t.TempDir(), version)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if b, err := os.ReadFile(filepath.Join(helm, name)); err != nil || string(b) != text {
			t.Errorf("%s is not what deploy/k8s makes (%v): make chart", name, err)
		}
	}
	there, err := filepath.Glob(filepath.Join(helm, "templates", "*.yaml"))
	if err != nil || len(there) != len(want)-1 {
		t.Errorf("%d templates, want %d (%v): make chart", len(there), len(want)-1, err)
	}
}

// With its values the chart gives what each overlay gives.
func TestChartGivesTheOverlays(t *testing.T) {
	for overlay, values := range map[string][]map[string]any{
		"dev":    {valuesFile(t, "values-dev.yaml")},
		"prod":   nil,
		"prod-5": {valuesFile(t, "values-prod-5.yaml")},
	} {
		want, err := Kustomize(filepath.Join(k8s, "overlays", overlay))
		if err != nil {
			t.Fatal(err)
		}
		got, err := template(values...)
		if err != nil {
			t.Fatal(err)
		}
		same(t, overlay, got, want)
	}
	want, err := compose(t, "overlays/prod", "monitoring")
	if err != nil {
		t.Fatal(err)
	}
	got, err := template(map[string]any{"monitoring": true})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "prod with monitoring", got, want)
}

// same compares two sets; a field that is null is one that is not there.
func same(t *testing.T, what string, got, want []Object) {
	t.Helper()
	by := map[string]any{}
	for _, o := range got {
		by[o.String()] = withoutNull(o.Fields)
	}
	for _, o := range want {
		if !reflect.DeepEqual(plain(by[o.String()]), plain(withoutNull(o.Fields))) {
			t.Errorf("%s: the chart's %s is\n%s\nthe overlay's\n%s", what, o, Object{Fields: fields(by[o.String()])}.YAML(), o.YAML())
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: the chart has %v, the overlay %v", what, got, want)
	}
}

func fields(v any) map[string]any { m, _ := v.(map[string]any); return m }

// plain makes numbers comparable, whichever decoder read them.
func plain(v any) string { return string(Object{Fields: map[string]any{"": v}}.YAML()) }

func withoutNull(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			if e != nil {
				m[k] = withoutNull(e)
			}
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = withoutNull(e)
		}
		return l
	}
	return v
}

// Whatever the values, an API server takes what comes of them; wrong ones are
// refused by name.
func TestChartValues(t *testing.T) {
	for _, v := range []map[string]any{
		{"lock": "cert-manager", "clusterDomain": "example.org", "monitoring": true},
		{"image": "registry.example.org:5000/folkmoot@sha256:" + strings.Repeat("0", 64), "replicas": 7, "extraArgs": []any{"--election-timeout=2s", "--leco-addr=127.0.0.1:12300"}},
		{"lock": "none", "backup": map[string]any{"schedule": "5 4 * * *", "keep": 7, "storage": map[string]any{"className": "far", "size": "2Gi"}}},
		{"storage": map[string]any{"className": "fast", "size": "1Ti"}, "affinity": nil},
	} {
		objects, err := template(v)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, o := range objects {
			if err := Validate(o); err != nil {
				t.Errorf("%v: %v", v, err)
			}
			for _, pod := range pods(t, []Object{o}) {
				if err := Restricted(pod); err != nil {
					t.Errorf("%v: %s: %v", v, o, err)
				}
			}
			text += string(o.YAML())
		}
		if v["clusterDomain"] != nil && strings.Contains(text, "cluster.local") {
			t.Errorf("with another domain cluster.local is left:\n%s", text)
		}
		if v["backup"] != nil && !(strings.Contains(text, "- --keep=7\n") && strings.Contains(text, "schedule: 5 4 * * *\n") && strings.Contains(text, "storage: 2Gi\n")) {
			t.Errorf("the values of the backup are left out:\n%s", text)
		}
		if v["extraArgs"] != nil && !strings.Contains(text, "- --election-timeout=2s\n") {
			t.Errorf("the extra arguments are left out:\n%s", text)
		}
	}
	for want, v := range map[string]map[string]any{
		"lock":     {"lock": "tls"},
		"keep":     {"backup": map[string]any{"keep": 0}},
		"replica":  {"replica": 3},
		"replicas": {"replicas": "3"},
		"storage":  {"storage": map[string]any{"class": "fast"}},
	} {
		if _, err := template(v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want an error that names %s", v, err, want)
		}
	}
}
