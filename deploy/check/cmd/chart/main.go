// Command chart writes anew what is made of other files: the alerts of the component
// monitoring from deploy/prometheus, and the Helm chart from deploy/k8s. make chart runs it.
package main

import (
	"fmt"
	"os"

	"github.com/folkmoot/folkmoot/deploy/check"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// run works in deploy/check.
func run() error {
	version, err := check.ProgramVersion("../..")
	if err != nil {
		return err
	}
	rules, err := check.PrometheusRule("../prometheus/rules.yaml")
	if err != nil {
		return err
	}
	if err := os.WriteFile("../k8s/components/monitoring/rules.yaml", rules, 0o644); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "folkmoot-chart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	files, err := check.Chart("../k8s", scratch, version)
	if err != nil {
		return err
	}
	return check.WriteChart("../helm/folkmoot", files)
}
