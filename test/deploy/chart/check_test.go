package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// checkPod is what every pod has, whatever the values.
func checkPod(t *testing.T, r *release) {
	t.Helper()
	spec := r.pod.Spec
	if len(spec.Containers) != 1 {
		t.Fatalf("%d containers", len(spec.Containers))
	}
	c := spec.Containers[0]
	if !regexp.MustCompile(`^\S+(:[0-9][\w.-]*|@sha256:[0-9a-f]{64})$`).MatchString(c.Image) {
		t.Errorf("the image %q has neither a version nor a digest", c.Image)
	}
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	env := map[string]corev1.EnvVar{}
	for _, e := range c.Env {
		if _, twice := env[e.Name]; twice {
			t.Errorf("%s is set twice", e.Name)
		}
		env[e.Name] = e
	}
	scheme := corev1.URISchemeHTTP
	if _, secured := env["BERTH_TLS_CERT"]; secured {
		scheme = corev1.URISchemeHTTPS
	}
	for what, probe := range map[string]*corev1.Probe{"/healthz startup": c.StartupProbe, "/healthz liveness": c.LivenessProbe, "/readyz readiness": c.ReadinessProbe} {
		path, _, _ := strings.Cut(what, " ")
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Scheme != scheme || ports[probe.HTTPGet.Port.StrVal] == 0 {
			t.Errorf("the probe %s is %+v, and the ports are %v", what, probe, ports)
		}
	}
	if env["BERTH_LISTEN"].Value != ":5000" || ports["http"] != 5000 || env["BERTH_ADMIN_LISTEN"].Value != ":9090" || ports["admin"] != 9090 {
		t.Errorf("it listens on %s and %s, and the ports are %v", env["BERTH_LISTEN"].Value, env["BERTH_ADMIN_LISTEN"].Value, ports)
	}

	p, s := spec.SecurityContext, c.SecurityContext
	if p == nil || s == nil || !*p.RunAsNonRoot || *p.RunAsUser == 0 || *p.FSGroup != *p.RunAsUser || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		!*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("the security contexts are %+v and %+v", p, s)
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Error("the pod gets a token of Kubernetes's")
	}
	if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		t.Errorf("the resources are %+v", c.Resources)
	}

	// What the program waits for when it stops fits into what Kubernetes waits.
	var waits int64
	for _, key := range []string{"drain_delay", "drain_timeout"} {
		m := regexp.MustCompile(`(?m)^` + key + `: (\d+)s$`).FindStringSubmatch(r.config.Data["berth.yaml"])
		if m == nil {
			t.Fatalf("no %s:\n%s", key, r.config.Data["berth.yaml"])
		}
		seconds, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		waits += seconds
	}
	if grace := *spec.TerminationGracePeriodSeconds; grace <= waits {
		t.Errorf("the grace period is %d s, and a node takes up to %d s to stop", grace, waits)
	}

	mounted := map[string]string{}
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
	}
	if r.set != nil {
		for _, v := range r.set.Spec.VolumeClaimTemplates {
			volumes[v.Name] = true
			if v.Spec.Resources.Requests.Storage().IsZero() || len(v.Spec.AccessModes) == 0 {
				t.Errorf("the claim is %+v", v.Spec)
			}
		}
	}
	for _, m := range c.VolumeMounts {
		mounted[m.MountPath] = m.Name
		if !volumes[m.Name] {
			t.Errorf("%s mounts the volume %s, which is not there", m.MountPath, m.Name)
		}
	}
	if mounted[env["BERTH_DATA"].Value] != "data" {
		t.Errorf("the data directory %s is no volume: %v", env["BERTH_DATA"].Value, mounted)
	}
	if mounted[filepath.Dir(env["BERTH_CONFIG"].Value)] != "config" || r.config.Data[filepath.Base(env["BERTH_CONFIG"].Value)] == "" {
		t.Errorf("the configuration file %s is not mounted: %v", env["BERTH_CONFIG"].Value, mounted)
	}
	known := variables(t)
	for name := range env {
		if strings.HasPrefix(name, "BERTH_") && !known[name] {
			t.Errorf("%s is no variable of Berth's", name)
		}
	}
	if r.pod.Annotations["checksum/config"] == "" {
		t.Error("a changed configuration rolls no pods")
	}
}

// variables are the environment variables that Berth knows.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../../../internal/config/config.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`env:"(BERTH_\w+)"`).FindAllSubmatch(b, -1) {
		known[string(m[1])] = true
	}
	if len(known) < 10 {
		t.Fatalf("found the variables %v", known)
	}
	return known
}

// checkSelectors is that everything that means the pods finds them.
func checkSelectors(t *testing.T, r *release) {
	t.Helper()
	labels := r.pod.Labels
	if !selects(r.selector, labels) {
		t.Errorf("the selector %v does not select the labels %v", r.selector, labels)
	}
	ports := map[string]bool{}
	for _, p := range r.pod.Spec.Containers[0].Ports {
		ports[p.Name] = true
	}
	if len(r.services) != 2 {
		t.Fatalf("%d services", len(r.services))
	}
	names := map[string]corev1.Service{}
	for _, s := range r.services {
		names[s.Name] = s
		if !selects(s.Spec.Selector, labels) || s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			t.Errorf("the service %s selects %v with affinity %s", s.Name, s.Spec.Selector, s.Spec.SessionAffinity)
		}
		for _, p := range s.Spec.Ports {
			if !ports[p.TargetPort.StrVal] || p.Port == 0 {
				t.Errorf("the service %s leads to the port %s, which the pod does not have", s.Name, p.TargetPort.StrVal)
			}
			if s.Spec.Type != corev1.ServiceTypeClusterIP && p.TargetPort.StrVal == "admin" {
				t.Errorf("the service %s shows the administration port to the world", s.Name)
			}
			if strings.HasSuffix(s.Name, "-admin") != (p.TargetPort.StrVal == "admin") {
				t.Errorf("the service %s leads to %s", s.Name, p.TargetPort.StrVal)
			}
		}
	}
	if r.set != nil && names[r.set.Spec.ServiceName].Name == "" {
		t.Errorf("the service %s of the StatefulSet is not there", r.set.Spec.ServiceName)
	}
	if b := r.budget; b != nil && (!selects(b.Spec.Selector.MatchLabels, labels) || b.Spec.MaxUnavailable == nil) {
		t.Errorf("the disruption budget is %+v", b.Spec)
	}
	if p := r.policy; p != nil {
		if !selects(p.Spec.PodSelector.MatchLabels, labels) {
			t.Errorf("the network policy selects %v", p.Spec.PodSelector.MatchLabels)
		}
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				if !ports[port.Port.StrVal] {
					t.Errorf("the network policy names the port %s, which the pod does not have", port.Port)
				}
				if port.Port.StrVal == "admin" && len(rule.From) == 0 {
					t.Error("the network policy opens the administration port to everybody")
				}
			}
		}
		if (len(p.Spec.Egress) > 0) != slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			t.Errorf("the network policy has the types %v and %d rules for what goes out", p.Spec.PolicyTypes, len(p.Spec.Egress))
		}
	}
	if i := r.ingress; i != nil {
		for _, rule := range i.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				s := names[path.Backend.Service.Name]
				if !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == path.Backend.Service.Port.Name }) {
					t.Errorf("the ingress leads to %+v, which is not there", path.Backend.Service)
				}
			}
		}
		if i.Annotations["nginx.ingress.kubernetes.io/proxy-body-size"] != "0" {
			t.Error("the ingress bounds bodies")
		}
	}
	if s := r.scaler; s != nil && (s.Spec.ScaleTargetRef.Name != r.deploy.Name || s.Spec.ScaleTargetRef.Kind != "Deployment" || r.replicas != nil) {
		t.Errorf("the scaler is for %+v, and the replicas are set to %v", s.Spec.ScaleTargetRef, r.replicas)
	}
	if r.deploy != nil && r.scaler == nil && (r.replicas == nil || *r.replicas < 2) {
		t.Error("a deployment has fewer than 2 nodes")
	}
	if r.deploy != nil && (r.deploy.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 || r.deploy.Spec.Strategy.RollingUpdate.MaxSurge.IntValue() < 1) {
		t.Errorf("the strategy is %+v", r.deploy.Spec.Strategy)
	}
	if r.set != nil && (r.replicas == nil || *r.replicas != 1) {
		t.Error("one node with a disk is not one")
	}
	if r.account != nil && r.account.Name != r.pod.Spec.ServiceAccountName {
		t.Errorf("the pod's service account is %s, and %s was made", r.pod.Spec.ServiceAccountName, r.account.Name)
	}
	for _, spread := range r.pod.Spec.TopologySpreadConstraints {
		if spread.TopologyKey != "rack" && !selects(spread.LabelSelector.MatchLabels, labels) {
			t.Errorf("the spread over %s selects %v", spread.TopologyKey, spread.LabelSelector.MatchLabels)
		}
	}
	if m := r.monitor; m != nil {
		admin, ok := names[r.config.Name+"-admin"]
		spec := m["spec"].(map[string]any)
		want := map[string]string{}
		for k, v := range spec["selector"].(map[string]any)["matchLabels"].(map[string]any) {
			want[k] = v.(string)
		}
		endpoint := spec["endpoints"].([]any)[0].(map[string]any)
		if !ok || !selects(want, admin.Labels) || selects(want, names[r.config.Name].Labels) || endpoint["port"] != admin.Spec.Ports[0].Name {
			t.Errorf("the monitor is %v", spec)
		}
	}
}

// checkSecrets is that secrets come from Secrets alone.
func checkSecrets(t *testing.T, r *release) {
	t.Helper()
	for file, text := range r.config.Data {
		if regexp.MustCompile(`(?i)password|secret|master_key|://[^/]*:[^/]*@`).MatchString(text) {
			t.Errorf("the ConfigMap's %s holds a secret:\n%s", file, text)
		}
	}
	for _, e := range r.pod.Spec.Containers[0].Env {
		secret := regexp.MustCompile(`DATABASE|MASTER_KEY|ROOT_|AWS_ACCESS_KEY_ID|AWS_SECRET`).MatchString(e.Name)
		if fromSecret := e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil; secret != fromSecret {
			t.Errorf("%s comes from %+v", e.Name, e)
		} else if fromSecret && (e.ValueFrom.SecretKeyRef.Name == "" || e.ValueFrom.SecretKeyRef.Key == "") {
			t.Errorf("%s names no key of a Secret", e.Name)
		}
	}
}
