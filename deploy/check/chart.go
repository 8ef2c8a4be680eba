package check

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// locks are the values of lock in the chart, and what each is made of.
var locks = []struct {
	value      string
	base       string
	components []string
}{
	{"own-ca", "base", []string{"tls-own-ca"}},
	{"cert-manager", "base", []string{"tls-cert-manager"}},
	{"none", "overlays/dev", nil},
}

// Chart returns the files of the Helm chart that are made from root, which is
// deploy/k8s, by name; version is that of the chart and of the program. What is
// not in it, values and their schema, is written by hand.
func Chart(root, scratch, version string) (map[string]string, error) {
	files := map[string]string{"Chart.yaml": fmt.Sprintf(chartYAML, version, version)}
	compose := func(base string, components ...string) ([]Object, error) {
		var dirs []string
		for _, c := range components {
			dirs = append(dirs, filepath.Join(root, "components", c))
		}
		return Compose(scratch, filepath.Join(root, base), dirs...)
	}
	base, err := compose("base", "networkpolicy", "monitoring", "backup")
	if err != nil {
		return nil, err
	}
	for _, o := range base {
		switch o.Kind {
		case "StatefulSet", "CronJob": // one for each lock, below
		case "PersistentVolumeClaim":
			files[o.file()] = when(".Values.backup.enabled", o.template())
		case "NetworkPolicy":
			files[o.file()] = when(".Values.networkPolicy", o.template())
		case "PodMonitor", "PrometheusRule":
			files[o.file()] = when(".Values.monitoring", o.template())
		default:
			files[o.file()] = made + o.template()
		}
	}
	sets, backups, condition := "", "", "if"
	for _, lock := range locks {
		objects, err := compose(lock.base, append([]string{"backup"}, lock.components...)...)
		if err != nil {
			return nil, err
		}
		is := fmt.Sprintf("eq .Values.lock %q", lock.value)
		for _, o := range objects {
			switch o.Kind {
			case "StatefulSet":
				sets += fmt.Sprintf("{{- %s %s }}\n%s", condition, is, o.template())
			case "CronJob":
				backups += fmt.Sprintf("{{- %s %s }}\n%s", condition, is, o.template())
			case "Issuer", "Certificate":
				files[o.file()] = when(is, o.template())
			}
		}
		condition = "else if"
	}
	files["templates/cronjob-folkmoot-backup.yaml"] = when(".Values.backup.enabled", backups+"{{- end }}\n")
	files["templates/statefulset-folkmoot.yaml"] = made + sets + "{{- end }}\n"
	return files, nil
}

const made = "# Made from deploy/k8s: make chart.\n"

const chartYAML = `# Made from deploy/k8s: make chart.
apiVersion: v2
name: folkmoot
description: A Raft-backed control plane of components, messages and jobs
type: application
version: %s
appVersion: %s
kubeVersion: ">=1.30.0-0"
home: https://github.com/folkmoot/folkmoot
`

func when(condition, text string) string {
	return made + "{{- if " + condition + " }}\n" + text + "{{- end }}\n"
}

func (o Object) file() string {
	return "templates/" + strings.ToLower(o.Kind) + "-" + o.Name + ".yaml"
}

// expressions are those of a template, which stand in its fields as @@0@@, @@1@@
// until it is text: with spaces in them YAML would fold them.
type expressions []string

func (e *expressions) add(text string) string {
	*e = append(*e, text)
	return fmt.Sprintf("@@%d@@", len(*e)-1)
}

// put puts the expressions in their places. One in a list of its own line stands for all
// that it ranges over.
func (e expressions) put(text string) string {
	for i, x := range e {
		if list, ok := strings.CutPrefix(x, "range "); ok {
			line := regexp.MustCompile(fmt.Sprintf(`(?m)^( *)- '?@@%d@@'?$`, i))
			text = line.ReplaceAllString(text, "${1}{{- range "+list+" }}\n${1}- {{ quote . }}\n${1}{{- end }}")
			continue
		}
		text = regexp.MustCompile(fmt.Sprintf(`'@@%d@@'|@@%d@@`, i, i)).ReplaceAllString(text, "{{ "+x+" }}")
	}
	return text
}

// template returns the object as a template, with the chart's values where they
// belong.
func (o Object) template() string {
	var e expressions
	switch o.Kind {
	case "ConfigMap":
		o.at("data")["bootstrap-expect"] = e.add("quote .Values.replicas")
	case "StatefulSet":
		o.templateSet(&e)
	case "CronJob":
		o.templateBackup(&e)
	case "PersistentVolumeClaim":
		templateClaim(o.at("spec"), &e, ".Values.backup.storage")
	}
	text := string(o.YAML())
	if o.Kind == "PrometheusRule" { // whose annotations are templates of Prometheus'
		return strings.ReplaceAll(text, "{{", `{{ "{{" }}`)
	}
	return e.put(text)
}

func (o Object) templateSet(e *expressions) {
	o.at("spec")["replicas"] = e.add(".Values.replicas")
	o.at("spec", "updateStrategy")["type"] = e.add(".Values.updateStrategy")
	pod := o.at("spec", "template", "spec")
	pod["affinity"] = e.add("toJson .Values.affinity")
	container := pod["containers"].([]any)[0].(map[string]any)
	container["image"] = e.add("quote .Values.image")
	container["resources"] = e.add("toJson .Values.resources")
	container["args"] = append(container["args"].([]any), e.add("range .Values.extraArgs"))
	for _, v := range container["env"].([]any) {
		if v := v.(map[string]any); v["name"] == "CLUSTER_DOMAIN" {
			v["value"] = e.add("quote .Values.clusterDomain")
		}
	}
	for _, v := range pod["volumes"].([]any) {
		if csi, ok := v.(map[string]any)["csi"].(map[string]any); ok {
			const names = "csi.cert-manager.io/dns-names"
			attributes := csi["volumeAttributes"].(map[string]any)
			attributes[names] = strings.ReplaceAll(attributes[names].(string), "svc.cluster.local", "svc."+e.add(".Values.clusterDomain"))
		}
	}
	templateClaim(o.at("spec")["volumeClaimTemplates"].([]any)[0].(map[string]any)["spec"].(map[string]any), e, ".Values.storage")
}

func (o Object) templateBackup(e *expressions) {
	o.at("spec")["schedule"] = e.add("quote .Values.backup.schedule")
	container := o.at("spec", "jobTemplate", "spec", "template", "spec")["containers"].([]any)[0].(map[string]any)
	container["image"] = e.add("quote .Values.image")
	args := container["args"].([]any)
	for i, a := range args {
		if strings.HasPrefix(a.(string), "--keep=") {
			args[i] = "--keep=" + e.add("int .Values.backup.keep")
		}
	}
}

// templateClaim has the size and class of a claim from the values at a place.
func templateClaim(claim map[string]any, e *expressions, values string) {
	claim["storageClassName"] = e.add("toJson " + values + ".className")
	claim["resources"].(map[string]any)["requests"].(map[string]any)["storage"] = e.add("quote " + values + ".size")
}

// at returns the mapping at a path, which is there.
func (o Object) at(path ...string) map[string]any {
	m := o.Fields
	for _, key := range path {
		m = m[key].(map[string]any)
	}
	return m
}

// WriteChart writes the files of Chart to dir; a template that is no more is removed.
func WriteChart(dir string, files map[string]string) error {
	old, err := filepath.Glob(filepath.Join(dir, "templates", "*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "templates"), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ProgramVersion returns the version of the programs, from their source.
func ProgramVersion(root string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, "cmd", "version", "version.go"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`Number = "([^"]+)"`).FindSubmatch(b)
	if m == nil {
		return "", fmt.Errorf("%s has no Number", filepath.Join(root, "cmd/version/version.go"))
	}
	return string(m[1]), nil
}
