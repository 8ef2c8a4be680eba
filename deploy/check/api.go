package check

import (
	"errors"
	"fmt"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // registers its types, defaults and conversions; so below
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	podsecurity "k8s.io/pod-security-admission/api"
	securitypolicy "k8s.io/pod-security-admission/policy"
)

// strict decodes what the server and the operators know, and refuses a field
// that they do not know or that is given twice.
var strict = func() runtime.Decoder {
	utilruntime.Must(certmanager.AddToScheme(legacyscheme.Scheme))
	utilruntime.Must(monitoring.AddToScheme(legacyscheme.Scheme))
	return serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
}()

// Decode returns the object as the API's own type, with the server's defaults.
func Decode(o Object) (runtime.Object, error) {
	typed, _, err := strict.Decode(o.YAML(), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	legacyscheme.Scheme.Default(typed)
	return typed, nil
}

// Validate judges an object as the API server does when it is created. Objects
// of operators are judged by their types alone.
func Validate(o Object) error {
	typed, err := Decode(o)
	if err != nil {
		return err
	}
	switch typed.(type) {
	case *certmanager.Issuer, *certmanager.Certificate, *monitoring.PodMonitor, *monitoring.PrometheusRule:
		return nil
	}
	group := typed.GetObjectKind().GroupVersionKind().Group
	internal, err := legacyscheme.Scheme.ConvertToVersion(typed, schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal})
	if err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	meta, ok := internal.(metav1.Object)
	if !ok {
		return fmt.Errorf("%s has no metadata", o)
	}
	if meta.GetNamespace() != "" {
		return fmt.Errorf("%s is bound to the namespace %s: whoever applies it says which", o, meta.GetNamespace())
	}
	meta.SetNamespace("default")
	wrong, err := invalid(internal)
	if err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	if err := wrong.ToAggregate(); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	return nil
}

func invalid(o runtime.Object) (field.ErrorList, error) {
	pod := func(t *core.PodTemplateSpec) corevalidation.PodValidationOptions {
		return podutil.GetValidationOptionsFromPodTemplate(t, nil)
	}
	switch o := o.(type) {
	case *core.Service:
		if o.Spec.ClusterIP != "" && len(o.Spec.ClusterIPs) == 0 {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP} // as the server does before it looks
		}
		return corevalidation.ValidateServiceCreate(o), nil
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o), nil
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o), nil
	case *core.PersistentVolumeClaim:
		return corevalidation.ValidatePersistentVolumeClaim(o, corevalidation.ValidationOptionsForPersistentVolumeClaimCreate()), nil
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(o, pod(&o.Spec.Template)), nil
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, pod(&o.Spec.Template)), nil
	case *batch.CronJob:
		return batchvalidation.ValidateCronJobCreate(o, pod(&o.Spec.JobTemplate.Spec.Template)), nil
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{}), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{}), nil
	}
	return nil, fmt.Errorf("a %T is judged by nobody: add it to invalid", o)
}

// PodTemplate returns the template of the pods that an object makes; nil: it makes none.
func PodTemplate(typed runtime.Object) *corev1.PodTemplateSpec {
	switch o := typed.(type) {
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	}
	return nil
}

// Restricted judges pods as a namespace does that enforces the restricted level
// of pod security.
func Restricted(pod *corev1.PodTemplateSpec) error {
	judge, err := securitypolicy.NewEvaluator(securitypolicy.DefaultChecks())
	if err != nil {
		return err
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	var wrong []error
	for _, r := range judge.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			wrong = append(wrong, fmt.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail))
		}
	}
	return errors.Join(wrong...)
}
