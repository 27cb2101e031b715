package chart

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const dir = "../../../deploy/helm/berth"

// The releases that are rendered: values, and what has to come out.
var releases = []struct {
	name, values string
	kinds        []string
}{
	{name: "embedded", values: `mode: embedded`,
		kinds: []string{"ConfigMap", "NetworkPolicy", "Service", "Service", "ServiceAccount", "StatefulSet"}},
	{name: "embedded with much", values: `
mode: embedded
fullnameOverride: registry
image: {tag: 1.2.3, repository: registry.example:5000/berth}
tls: {existingSecret: registry-tls}
persistence: {size: 2Ti, storageClass: fast, annotations: {keep: "yes"}}
s3: {url: s3://berth, endpoint: "https://s3.example", pathStyle: true}
rootAccessKey: {existingSecret: root}
podDisruptionBudget: {enabled: true}`,
		kinds: []string{"ConfigMap", "NetworkPolicy", "Service", "Service", "ServiceAccount", "StatefulSet"}},
	{name: "scaleout", values: scaleout,
		kinds: []string{"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "ServiceAccount"}},
	{name: "scaleout with everything", values: scaleout + `
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
imagePullSecrets: [{name: pull}]
tls: {existingSecret: registry-tls}
config:
  region: eu-central-1
  domain: registry.example
  trusted_proxies: [10.0.0.0/8]
  database: {max_connections: 20}
  blobs: {cache: {dir: /var/lib/berth/cache}}
drainSeconds: 120
ingress: {enabled: true, className: nginx, hosts: [registry.example, "*.registry.example"], tls: [{hosts: [registry.example], secretName: t}]}
autoscaling: {enabled: true, maxReplicas: 9}
networkPolicy:
  from: [{namespaceSelector: {matchLabels: {name: apps}}}]
  adminFrom: [{podSelector: {matchLabels: {app: prometheus}}}]
  egress: [{ports: [{port: 5432}]}]
serviceMonitor: {enabled: true, labels: {release: prometheus}}
serviceAccount: {annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/berth"}}
podAnnotations: {a: b}
podLabels: {team: registry}
nodeSelector: {disk: fast}
tolerations: [{key: registry, operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: high
topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {own: selector}}}]
extraEnv: [{name: AWS_REGION, value: eu-central-1}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /etc/ssl/certs}]`,
		kinds: []string{"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "ServiceAccount", "ServiceMonitor"}},
	{name: "without the extras", values: scaleout + `
networkPolicy: {enabled: false}
podDisruptionBudget: {enabled: false}
serviceAccount: {create: false}
topologySpreadConstraints: []`,
		kinds: []string{"ConfigMap", "Deployment", "Service", "Service"}},
}

const scaleout = `
database: {existingSecret: berth-database, directUrlKey: direct}
masterKey: {existingSecret: berth-keys}
rootAccessKey: {existingSecret: berth-root}
s3: {url: "s3://berth/layers", region: eu-central-1, existingSecret: berth-s3}`

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render gives the chart's files, as helm install would.
func render(c *chart.Chart, given map[string]any) (map[string]string, error) {
	v, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: "prod", Namespace: "registry", Revision: 1, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, v)
}

func TestLint(t *testing.T) {
	for _, r := range releases {
		found := lint.AllWithKubeVersion(dir, values(t, r.values), "registry", &chartutil.DefaultCapabilities.KubeVersion)
		for _, m := range found.Messages {
			if m.Severity >= support.InfoSev {
				t.Errorf("%s: %s", r.name, m)
			}
		}
	}
}

// release is what was rendered, by kind.
type release struct {
	kinds    []string
	pod      corev1.PodTemplateSpec
	selector map[string]string
	replicas *int32
	config   *corev1.ConfigMap
	services []corev1.Service
	account  *corev1.ServiceAccount
	policy   *networkingv1.NetworkPolicy
	budget   *policyv1.PodDisruptionBudget
	ingress  *networkingv1.Ingress
	scaler   *autoscalingv2.HorizontalPodAutoscaler
	set      *appsv1.StatefulSet
	deploy   *appsv1.Deployment
	monitor  map[string]any
}

// strictly decodes a document as the type, refusing keys that it does not know.
func strictly[T any](t *testing.T, doc string) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict([]byte(doc), v); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	return v
}

func decode(t *testing.T, files map[string]string) *release {
	t.Helper()
	out := &release{}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(file, "NOTES.txt") {
			if !strings.Contains(files[file], "rollout status") || strings.Contains(files[file], "<no value>") {
				t.Errorf("the notes are\n%s", files[file])
			}
			continue
		}
		for doc := range strings.SplitSeq(files[file], "\n---\n") {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			head := struct {
				APIVersion, Kind string
				Metadata         struct {
					Name   string
					Labels map[string]string
				}
			}{}
			if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, doc)
			}
			if head.Metadata.Name == "" || head.Metadata.Labels["app.kubernetes.io/instance"] != "prod" || head.Metadata.Labels["helm.sh/chart"] == "" {
				t.Errorf("%s: %s has no name or not Helm's labels: %+v", file, head.Kind, head.Metadata)
			}
			out.kinds = append(out.kinds, head.Kind)
			switch head.APIVersion + " " + head.Kind {
			case "v1 ConfigMap":
				out.config = strictly[corev1.ConfigMap](t, doc)
			case "v1 Service":
				out.services = append(out.services, *strictly[corev1.Service](t, doc))
			case "v1 ServiceAccount":
				out.account = strictly[corev1.ServiceAccount](t, doc)
			case "apps/v1 Deployment":
				out.deploy = strictly[appsv1.Deployment](t, doc)
				out.pod, out.selector, out.replicas = out.deploy.Spec.Template, out.deploy.Spec.Selector.MatchLabels, out.deploy.Spec.Replicas
			case "apps/v1 StatefulSet":
				out.set = strictly[appsv1.StatefulSet](t, doc)
				out.pod, out.selector, out.replicas = out.set.Spec.Template, out.set.Spec.Selector.MatchLabels, out.set.Spec.Replicas
			case "networking.k8s.io/v1 NetworkPolicy":
				out.policy = strictly[networkingv1.NetworkPolicy](t, doc)
			case "networking.k8s.io/v1 Ingress":
				out.ingress = strictly[networkingv1.Ingress](t, doc)
			case "policy/v1 PodDisruptionBudget":
				out.budget = strictly[policyv1.PodDisruptionBudget](t, doc)
			case "autoscaling/v2 HorizontalPodAutoscaler":
				out.scaler = strictly[autoscalingv2.HorizontalPodAutoscaler](t, doc)
			case "monitoring.coreos.com/v1 ServiceMonitor":
				out.monitor = *strictly[map[string]any](t, doc)
			default:
				t.Errorf("%s: %s %s is no type that this test knows", file, head.APIVersion, head.Kind)
			}
		}
	}
	slices.Sort(out.kinds)
	return out
}

// selects says whether labels have everything that a selector asks for.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func TestRender(t *testing.T) {
	c := load(t)
	for _, want := range releases {
		t.Run(want.name, func(t *testing.T) {
			files, err := render(c, values(t, want.values))
			if err != nil {
				t.Fatal(err)
			}
			r := decode(t, files)
			if !slices.Equal(r.kinds, want.kinds) {
				t.Errorf("rendered %v, want %v", r.kinds, want.kinds)
			}
			checkPod(t, r)
			checkSelectors(t, r)
			checkSecrets(t, r)
		})
	}
}

// TestRefused is values that make no deployment, and what the user reads.
func TestRefused(t *testing.T) {
	c := load(t)
	for text, want := range map[string]string{
		"{}":                             "database.existingSecret: nodes share a PostgreSQL database",
		"mode: both":                     "mode",
		"mode: embedded\nreplicas: 2":    "replicas",
		"replicaCount: two\n" + scaleout: "replicaCount",
		"mode: embedded\ndatabase: {existingSecret: d}":                   "mode=embedded keeps its database",
		"mode: embedded\nautoscaling: {enabled: true}":                    "mode=embedded is one node",
		"mode: embedded\nconfig: {listen: \":80\"}":                       "config.listen is the chart's to set",
		"mode: embedded\nconfig: {tls: {certificate: a}}":                 "config.tls is the chart's to set",
		"mode: embedded\nservice: {port: 0}":                              "port",
		"mode: embedded\ningress: {enabled: true}":                        "ingress.hosts: name the hosts",
		"mode: embedded\nadmin: {port: 80}":                               "port",
		scaleout + "\nconfig: {database: {url: \"postgres://a:b@c/d\"}}":  "config.database: the address holds a password",
		scaleout + "\nconfig: {database: \"postgres://a:b@c/d\"}":         "config.database: the address holds a password",
		scaleout + "\nconfig: {keys: {master_key: /file}}":                "config.keys.master_key",
		scaleout + "\nconfig: {blobs: \"s3://other\"}":                    "config.blobs.url",
		strings.Replace(scaleout, "berth-keys", "", 1):                    "masterKey.existingSecret",
		strings.Replace(scaleout, "berth-root", "", 1):                    "rootAccessKey.existingSecret",
		strings.Replace(scaleout, "s3://berth/layers", "", 1):             "s3.url: nodes share a bucket",
		strings.Replace(scaleout, "s3://berth/layers", "http://berth", 1): "url",
		scaleout + "\nimage: {digest: sha256:short}":                      "digest",
		scaleout + "\nautoscaling: {enabled: true, minReplicas: 1}":       "minReplicas",
	} {
		files, err := render(c, values(t, text))
		if err == nil {
			t.Errorf("this was rendered:\n%s\nas %d files", text, len(files))
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nis refused without %q: %v", text, want, err)
		}
	}
}

// TestReadme holds the table of values, and the values of the example, to the chart.
func TestReadme(t *testing.T) {
	c := load(t)
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(readme), "\n| value | default | |\n")
	if !ok {
		t.Fatal("README.md has no table of values")
	}
	listed := map[string]bool{}
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) < 3 {
			continue
		}
		parent := ""
		for _, m := range regexp.MustCompile("`([\\w.]+)`").FindAllStringSubmatch(cells[1], -1) {
			name := m[1]
			if strings.HasPrefix(name, ".") {
				name = parent + name
			} else if i := strings.LastIndex(name, "."); i >= 0 {
				parent = name[:i]
			}
			listed[name] = true
		}
	}
	// What a value holds is listed, or the value as a whole.
	var missing func(path string, v any)
	missing = func(path string, v any) {
		if listed[path] {
			delete(listed, path)
			return
		}
		if m, ok := v.(map[string]any); ok && len(m) > 0 {
			for k, w := range m {
				missing(strings.TrimPrefix(path+"."+k, "."), w)
			}
			return
		}
		t.Errorf("README.md does not list %s", path)
	}
	missing("", c.Values)
	for name := range listed {
		t.Errorf("README.md lists %s, which is no value", name)
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	if example == nil {
		t.Fatal("README.md shows no values")
	}
	files, err := render(c, values(t, string(example[1])))
	if err != nil {
		t.Fatalf("the values that README.md shows: %v", err)
	}
	decode(t, files)
}

// TestSchema is that values.schema.json knows every value, so that a name that is
// misspelt is refused.
func TestSchema(t *testing.T) {
	c := load(t)
	var check func(path string, v map[string]any)
	check = func(path string, v map[string]any) {
		for k, w := range v {
			sub, ok := w.(map[string]any)
			if !ok || len(sub) == 0 || path+k == "resources" || path+k == "ingress" {
				continue
			}
			check(path+k+".", sub)
		}
		given := map[string]any{"mode": "embedded"}
		at := given
		for part := range strings.SplitSeq(strings.TrimSuffix(path, "."), ".") {
			if part != "" {
				next := map[string]any{}
				at[part], at = next, next
			}
		}
		at["misspelt"] = "x"
		if _, err := render(c, given); err == nil || !strings.Contains(err.Error(), "misspelt") {
			t.Errorf("%smisspelt is taken: %v", path, err)
		}
	}
	check("", c.Values)
}
