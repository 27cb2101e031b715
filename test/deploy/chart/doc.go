// Package chart holds the Helm chart in deploy/helm to what its users rely on: it is
// linted and rendered by Helm's own packages, and each document is decoded strictly
// as the Kubernetes type that it says it is. The module stands apart because those
// packages bring hundreds of others; the helm program itself takes several times as
// long to build.
package chart
