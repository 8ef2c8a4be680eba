package check

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const k8s = "../k8s"

// sets are what there is to apply: the overlays, and each component on the overlay
// that it is for, by name.
func sets(t *testing.T) map[string][]Object {
	t.Helper()
	all := map[string][]Object{}
	for _, name := range folders(t, "overlays") {
		objects, err := Kustomize(filepath.Join(k8s, "overlays", name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = objects
	}
	for _, name := range folders(t, "components") {
		base, components := "overlays/dev", []string{name}
		if name == "tokens" || strings.HasPrefix(name, "tls-") {
			base, components = "base", []string{"non-voters", "workers", "backup", name}
		}
		objects, err := compose(t, base, components...)
		if err != nil {
			t.Fatal(err)
		}
		all["component "+name] = objects
	}
	return all
}

func compose(t *testing.T, base string, components ...string) ([]Object, error) {
	t.Helper()
	var dirs []string
	for _, c := range components {
		dirs = append(dirs, filepath.Join(k8s, "components", c))
	}
	return Compose(t.TempDir(), filepath.Join(k8s, base), dirs...)
}

func folders(t *testing.T, of string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(k8s, of))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// typed returns the objects of a set by kind/name, as the API's types.
func typed(t *testing.T, objects []Object) map[string]runtime.Object {
	t.Helper()
	all := map[string]runtime.Object{}
	for _, o := range objects {
		d, err := Decode(o)
		if err != nil {
			t.Fatal(err)
		}
		all[o.String()] = d
	}
	return all
}

// Every overlay and every component is what an API server takes, and its pods are
// what a namespace takes that enforces restricted pod security.
func TestManifestsAreTaken(t *testing.T) {
	for name, objects := range sets(t) {
		t.Run(name, func(t *testing.T) {
			if len(objects) < 6 {
				t.Errorf("only %d objects", len(objects))
			}
			for _, o := range objects {
				if o.Kind == "Secret" {
					t.Errorf("%s: secrets are made by who applies it", o)
				}
				if err := Validate(o); err != nil {
					t.Error(err)
					continue
				}
				for _, pod := range pods(t, []Object{o}) {
					if err := Restricted(pod); err != nil {
						t.Errorf("%s: %v", o, err)
					}
				}
			}
		})
	}
}

// The judges find what is planted.
func TestJudgesFindPlantedFaults(t *testing.T) {
	objects, err := Kustomize(filepath.Join(k8s, "overlays/dev"))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(objects, func(o Object) bool { return o.Kind == "StatefulSet" })
	for want, plant := range map[string][2]string{
		"unknown field":      {"minReadySeconds: ", "minReadySecond: "},
		"already set":        {"  replicas: 3\n", "  replicas: 3\n  replicas: 4\n"},
		"no more than 15":    {"name: component\n", "name: native-components\n"},
		"Required value":     {"          failureThreshold: 6\n          httpGet:\n            path: /livez\n            port: ops\n", "          failureThreshold: 6\n"},
		"Not found":          {"- emptyDir: {}\n        name: tmp", "- emptyDir: {}\n        name: temporary"},
		"does not match":     {"      app.kubernetes.io/name: folkmoot\n  serviceName", "      app.kubernetes.io/name: other\n  serviceName"},
		"must be non-negat":  {"terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: -1"},
		"runAsNonRoot":       {"runAsNonRoot: true", "runAsNonRoot: false"},
		"allowPrivilege":     {"allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"},
		"seccompProfile":     {"type: RuntimeDefault", "type: Unconfined"},
		"unrestricted capab": {"drop:\n            - ALL", "drop:\n            - NET_RAW"},
	} {
		text := string(objects[at].YAML())
		if !strings.Contains(text, plant[0]) {
			t.Fatalf("no %q to plant a fault in:\n%s", plant[0], text)
		}
		if err := judge(strings.ReplaceAll(text, plant[0], plant[1])); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q in place of %q: got %v, want %q", plant[1], plant[0], err, want)
		}
	}
}

// judge is all that is asked of one object's text.
func judge(text string) error {
	d, _, err := strict.Decode([]byte(text), nil, nil)
	if err != nil {
		return err
	}
	objects, err := Parse(text)
	if err != nil {
		return err
	}
	if err := Validate(objects[0]); err != nil {
		return err
	}
	return Restricted(PodTemplate(d))
}

// pods are the templates of all pods in a set, by what makes them.
func pods(t *testing.T, objects []Object) map[string]*corev1.PodTemplateSpec {
	t.Helper()
	all := map[string]*corev1.PodTemplateSpec{}
	for name, o := range typed(t, objects) {
		if p := PodTemplate(o); p != nil {
			all[name] = p
		}
	}
	return all
}

// The names that tools outside the project hold on to.
func TestNamesToHoldOnTo(t *testing.T) {
	for overlay, replicas := range map[string]int32{"dev": 3, "prod": 3, "prod-5": 5} {
		objects, err := Kustomize(filepath.Join(k8s, "overlays", overlay))
		if err != nil {
			t.Fatal(err)
		}
		all := typed(t, objects)
		want := []string{"ConfigMap/folkmoot-cluster", "PodDisruptionBudget/folkmoot", "Service/folkmoot", "Service/folkmoot-peers", "ServiceAccount/folkmoot", "StatefulSet/folkmoot"}
		if overlay != "dev" {
			want = append(want, "NetworkPolicy/folkmoot", "CronJob/folkmoot-backup", "PersistentVolumeClaim/folkmoot-backup")
		}
		for _, name := range want {
			if all[name] == nil {
				t.Fatalf("%s has no %s", overlay, name)
			}
		}
		if claim, ok := all["PersistentVolumeClaim/folkmoot-backup"].(*corev1.PersistentVolumeClaim); ok && claim.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s: the snapshots go with the release", overlay)
		}
		set := all["StatefulSet/folkmoot"].(*appsv1.StatefulSet)
		if got := *set.Spec.Replicas; got != replicas {
			t.Errorf("%s has %d replicas, want %d", overlay, got, replicas)
		}
		if got := all["ConfigMap/folkmoot-cluster"].(*corev1.ConfigMap).Data["bootstrap-expect"]; got != fmt.Sprint(replicas) {
			t.Errorf("%s founds with %q of %d", overlay, got, replicas)
		}
		if got, want := set.Spec.UpdateStrategy.Type, map[bool]appsv1.StatefulSetUpdateStrategyType{true: appsv1.RollingUpdateStatefulSetStrategyType, false: appsv1.OnDeleteStatefulSetStrategyType}[overlay == "dev"]; got != want {
			t.Errorf("%s updates by %s, want %s", overlay, got, want)
		}
		if got := set.Spec.VolumeClaimTemplates[0].Name; got != "data" {
			t.Errorf("%s: the claim is called %q", overlay, got)
		}
		if affinity := set.Spec.Template.Spec.Affinity; (affinity != nil) != (overlay != "dev") {
			t.Errorf("%s: affinity %v", overlay, affinity)
		}
		checkCoordinator(t, overlay, set)
		selects(t, overlay, all)
	}
}

// checkCoordinator checks what every coordinator's pod has.
func checkCoordinator(t *testing.T, overlay string, set *appsv1.StatefulSet) {
	t.Helper()
	pod := set.Spec.Template.Spec
	c := pod.Containers[0]
	if c.Name != "coordinator" || c.Image != "folkmoot" || len(pod.Containers) != 1 {
		t.Errorf("%s: container %s of image %s", overlay, c.Name, c.Image)
	}
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if want := map[string]int32{"http": 7380, "component": 7370, "peer": 7300, "ops": 7390}; !reflect.DeepEqual(ports, want) {
		t.Errorf("%s: ports %v, want %v", overlay, ports, want)
	}
	for name, p := range map[string]*corev1.Probe{"/startupz": c.StartupProbe, "/livez": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != name || p.HTTPGet.Port.StrVal != "ops" {
			t.Errorf("%s: probe %s is %+v", overlay, name, p)
		}
	}
	if c.Resources.Limits.Memory().IsZero() || !c.Resources.Limits.Cpu().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
		t.Errorf("%s: resources %+v: both requested, memory alone limited", overlay, c.Resources)
	}
	if id := pod.SecurityContext; *id.RunAsUser != 65532 || *id.FSGroup != 65532 || *id.FSGroupChangePolicy != corev1.FSGroupChangeOnRootMismatch {
		t.Errorf("%s: security context %+v", overlay, id)
	}
	if *pod.AutomountServiceAccountToken || *pod.EnableServiceLinks || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Errorf("%s: a token, service links or a root that can be written", overlay)
	}
	// preStop, --drain and the longest graceful end of serve (40 s).
	if grace, want := *pod.TerminationGracePeriodSeconds, c.Lifecycle.PreStop.Sleep.Seconds+5+40; grace < want {
		t.Errorf("%s: %d s to end, want %d", overlay, grace, want)
	}
	if set.Spec.MinReadySeconds != 10 || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || set.Spec.ServiceName != "folkmoot-peers" {
		t.Errorf("%s: %+v", overlay, set.Spec)
	}
	locked := slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "FOLKMOOT_TOKEN_FILE" })
	open := slices.Contains(c.Args, "--insecure")
	if locked == open || open != (overlay == "dev") {
		t.Errorf("%s: tokens %t, insecure %t", overlay, locked, open)
	}
	// A Secret that is mounted by subPath would never be read again.
	for _, m := range c.VolumeMounts {
		if m.SubPath != "" || m.SubPathExpr != "" {
			t.Errorf("%s: %s is mounted by subPath", overlay, m.Name)
		}
	}
}

// selects checks that what selects pods by their labels selects the coordinators.
func selects(t *testing.T, overlay string, all map[string]runtime.Object) {
	t.Helper()
	pod := all["StatefulSet/folkmoot"].(*appsv1.StatefulSet).Spec.Template
	has := func(what string, selector map[string]string) {
		t.Helper()
		if selector["app.kubernetes.io/name"] != "folkmoot" {
			t.Errorf("%s: %s selects %v", overlay, what, selector)
		}
		for k, v := range selector {
			if pod.Labels[k] != v {
				t.Errorf("%s: %s selects %s=%s, the pods have %q", overlay, what, k, v, pod.Labels[k])
			}
		}
	}
	front, peers := all["Service/folkmoot"].(*corev1.Service).Spec, all["Service/folkmoot-peers"].(*corev1.Service).Spec
	has("folkmoot", front.Selector)
	has("folkmoot-peers", peers.Selector)
	has("the budget", all["PodDisruptionBudget/folkmoot"].(*policyv1.PodDisruptionBudget).Spec.Selector.MatchLabels)
	if peers.ClusterIP != corev1.ClusterIPNone || !peers.PublishNotReadyAddresses || front.PublishNotReadyAddresses {
		t.Errorf("%s: the peers are found at %q, unready ones too %t; clients are sent to unready ones %t", overlay, peers.ClusterIP, peers.PublishNotReadyAddresses, front.PublishNotReadyAddresses)
	}
	named := map[string]bool{}
	for _, p := range pod.Spec.Containers[0].Ports {
		named[p.Name] = true
	}
	for _, p := range slices.Concat(front.Ports, peers.Ports) {
		if !named[p.TargetPort.StrVal] {
			t.Errorf("%s: port %s leads to %s, which no container has", overlay, p.Name, p.TargetPort.String())
		}
	}
	if policy, ok := all["NetworkPolicy/folkmoot"].(*networkingv1.NetworkPolicy); ok {
		has("the policy", policy.Spec.PodSelector.MatchLabels)
		for _, rule := range policy.Spec.Ingress {
			for _, p := range rule.Ports {
				if !named[p.Port.StrVal] {
					t.Errorf("%s: the policy opens %s, which no container has", overlay, p.Port)
				}
			}
		}
	}
}

// Non-voters are the same pods, but for what makes them non-voters.
func TestNonVotersAreLikeVoters(t *testing.T) {
	objects, err := compose(t, "base", "non-voters")
	if err != nil {
		t.Fatal(err)
	}
	text := func(name string) string {
		at := slices.IndexFunc(objects, func(o Object) bool { return o.String() == name })
		return string(objects[at].YAML())
	}
	founders := `        - name: BOOTSTRAP_EXPECT
          valueFrom:
            configMapKeyRef:
              key: bootstrap-expect
              name: folkmoot-cluster
`
	voters := strings.NewReplacer(
		"component: coordinator", "component: non-voter", "  name: folkmoot\n", "  name: folkmoot-non-voters\n", "replicas: 3", "replicas: 2",
		"serviceName: folkmoot-peers", "serviceName: folkmoot-non-voters", "$(POD_NAME).folkmoot-peers", "$(POD_NAME).folkmoot-non-voters",
		"--bootstrap-expect=$(BOOTSTRAP_EXPECT)", "--non-voter", founders, "",
	).Replace(text("StatefulSet/folkmoot"))
	if others := text("StatefulSet/folkmoot-non-voters"); others != voters {
		t.Errorf("non-voters are\n%s\nvoters would be\n%s", others, voters)
	}
}

// What a component locks, it locks at all that are there.
func TestLocksReachAllPods(t *testing.T) {
	for _, lock := range []string{"tls-own-ca", "tls-cert-manager"} {
		objects, err := compose(t, "base", "non-voters", "workers", "backup", lock)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for name, pod := range pods(t, objects) {
			seen++
			env := map[string]string{}
			for _, e := range pod.Spec.Containers[0].Env {
				env[e.Name] = e.Value
			}
			for _, v := range []string{"FOLKMOOT_TOKEN_FILE", "FOLKMOOT_CACERT"} {
				if !mounted(pod, env[v]) {
					t.Errorf("%s: %s of %s is %q, which nothing is mounted at", lock, v, name, env[v])
				}
			}
			worker, backup := name == "Deployment/folkmoot-worker", name == "CronJob/folkmoot-backup"
			for _, v := range pod.Spec.Volumes {
				if s := v.Secret; worker && s != nil && (s.SecretName == "folkmoot-token" || s.SecretName != "folkmoot-worker-token" && len(s.Items) != 1) {
					t.Errorf("%s: a worker is given %s whole", lock, s.SecretName)
				}
				if s := v.Secret; backup && s != nil && s.SecretName != "folkmoot-token" && len(s.Items) != 1 {
					t.Errorf("%s: the backup is given %s whole, with its key", lock, s.SecretName)
				}
			}
		}
		if seen != 4 {
			t.Errorf("%s: %d kinds of pods, want 4", lock, seen)
		}
	}
}

func mounted(pod *corev1.PodTemplateSpec, file string) bool {
	return file != "" && slices.ContainsFunc(pod.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
		return filepath.Dir(file) == cmp.Or(m.MountPath, "/")
	})
}
