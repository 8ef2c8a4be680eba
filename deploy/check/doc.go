// Package check renders what deploy/k8s has and judges it as an API server
// would, without one: by Kubernetes' own types, defaults, validation and pod
// security. It also makes the Helm chart of deploy/helm from the same source.
// It is a module of its own, so that the product depends on none of this.
package check
