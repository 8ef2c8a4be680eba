package check

import (
	"bytes"
	"os"

	"sigs.k8s.io/yaml"
)

// PrometheusRule returns the file of rules at path as an object of the Prometheus
// operator: the groups of both are the same.
func PrometheusRule(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var spec map[string]any
	if err := yaml.UnmarshalStrict(text, &spec); err != nil {
		return nil, err
	}
	object, err := yaml.Marshal(map[string]any{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
		"metadata": map[string]any{"name": "folkmoot", "labels": map[string]any{"app.kubernetes.io/name": "folkmoot"}},
		"spec":     spec,
	})
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{[]byte("# Made from deploy/prometheus/rules.yaml: make chart.\n"), object}, nil), nil
}
